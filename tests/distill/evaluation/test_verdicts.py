"""Conclusions of a probe follow from intervals."""

from __future__ import annotations

from distill.evaluation.bootstrap import Difference, Interval
from distill.evaluation.results import MEL, TEACHER, UNTRAINED, ProbeResult
from distill.evaluation.verdicts import score_lines, verdicts
from tests.distill.commands.test_report import baseline, result


def with_leads(mel: Difference, untrained: Difference, teacher_over_mel: Difference) -> ProbeResult:
    baselines = (
        baseline(MEL, "mel", 0.5),
        baseline(UNTRAINED, "runs/a, untrained", 0.2),
        baseline(TEACHER, "musicnn", 0.7, teacher_over_mel),
    )
    leads = (mel, untrained, Difference(-0.1, -0.2, 0.0))
    return result(
        baselines=tuple(type(one)(**{**vars(one), "lead": lead}) for one, lead in zip(baselines, leads, strict=True))
    )


def test_a_difference_counts_if_its_interval_does_not_contain_zero() -> None:
    found = with_leads(Difference(0.1, 0.05, 0.15), Difference(0.4, 0.3, 0.5), Difference(0.2, 0.1, 0.3))
    assert list(verdicts(found, "the student")) == [
        "the student is above the untrained student by 0.4000 [0.3000, 0.5000]",
        "the student is above mel statistics by 0.1000 [0.0500, 0.1500]",
    ]
    found = with_leads(Difference(-0.1, -0.15, -0.05), Difference(0.1, -0.1, 0.3), Difference(-0.1, -0.2, 0.01))
    assert list(verdicts(found, "the student")) == [
        "the student and the untrained student do not differ clearly: +0.1000 [-0.1000, +0.3000]",
        "the student is below mel statistics by 0.1000 [0.0500, 0.1500]",
    ]


def test_a_teacher_that_is_clearly_below_mel_statistics_is_named_last() -> None:
    found = with_leads(Difference(-0.1, -0.15, -0.05), Difference(0.4, 0.3, 0.5), Difference(-0.2, -0.3, -0.1))
    expected = "the teacher musicnn itself is below mel statistics on this task by 0.2000 [0.1000, 0.3000]"
    assert list(verdicts(found, "the student"))[-1] == expected
    assert next(verdicts(found, "a", (MEL,))).startswith("a is below mel statistics")


def test_the_table_has_a_line_for_each_encoder() -> None:
    found = with_leads(Difference(0.1, 0.05, 0.15), Difference(0.4, 0.3, 0.5), Difference(0.2, 0.1, 0.3))
    assert score_lines(found) == [
        "  student runs/a   0.6000  [0.5000, 0.7000]",
        "  mel statistics   0.5000  [0.4500, 0.5500]",
        "  untrained        0.2000  [0.1500, 0.2500]",
        "  teacher musicnn  0.7000  [0.6500, 0.7500]",
    ]
    assert score_lines(result(interval=None)) == ["  student runs/a  0.6000"]
    assert score_lines(result(interval=Interval(0, 1), teachers={}))[0].startswith("  encoder runs/a")
