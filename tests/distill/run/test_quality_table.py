"""The quality of a student as lines, JSON and a table, from given measures."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from distill.evaluation.cost import Cost
from distill.evaluation.quality import Agreement
from distill.run.quality_table import (
    CropMatches,
    EncoderQuality,
    QualityReport,
    Sensitivity,
    TeacherQuality,
    mean_agreement,
)

NAN = math.nan
COST = Cost(3.0, 1_234, 4_000_000, 0.005, 1 << 20, "1 thread")
TEACHER = TeacherQuality("one", 20.0, 0.2, True, CropMatches(40, 0.9, 0.5, 0.05), replace(COST, parameters=None))


def agreement(neighbours: float) -> Agreement:
    return Agreement(**{**dict.fromkeys(Agreement._fields, 0.25), "neighbours": neighbours})


def encoder(neighbours: float, cost: Cost | None = None) -> EncoderQuality:
    return EncoderQuality((agreement(neighbours),), 10.0, 0.3, Sensitivity(0.1, 0.2, 0.3), cost)


REPORT = QualityReport(60, 180, encoder(0.5, COST), encoder(0.3), encoder(0.1), (TEACHER,))


def cells(report: QualityReport) -> dict[str, tuple[str, ...]]:
    """Return the cells of the table by the name of the measure."""
    return {name: values for name, *values in report.rows()}  # type: ignore[misc]


def test_the_summary_states_the_kept_neighbours_beside_the_baselines() -> None:
    assert REPORT.summary() == ["keeps 50 % of the teacher's neighbours (mel statistics 30 %, untrained 10 %)"]
    two = replace(TEACHER, name="two")
    both = [replace(part, agreements=part.agreements * 2) for part in (REPORT.student, REPORT.mel, REPORT.untrained)]
    lines = QualityReport(60, 180, *both, (TEACHER, two)).summary()  # type: ignore[call-arg, arg-type]
    assert [line.partition(" (")[0] for line in lines] == [
        "keeps 50 % of the neighbours of one", "keeps 50 % of the neighbours of two",
    ]  # fmt: skip


def test_the_table_has_a_cell_for_each_encoder_and_a_single_teacher() -> None:
    assert REPORT.columns == ["student", "mel statistics", "untrained", "teacher one"]
    table = cells(REPORT)
    assert list(table["effective rank"]) == ["10.0", "10.0", "10.0", "20.0"]
    assert list(table["change by gain / noise / shift"]) == ["0.10 / 0.20 / 0.30"] * 3
    assert list(table["parameters"]) == ["1,234", "", "", "unknown"]
    assert list(table["million MACs, 3 s"]) == ["2", "", "", "2"]
    assert list(table["milliseconds, 3 s"]) == ["5", "", "", "5"]
    header = REPORT.lines()[1]
    assert header.startswith("60 held-out clips among 180")
    assert header.endswith("teacher one")


def test_a_good_student_has_no_alarm() -> None:
    assert REPORT.alarm == ""
    assert REPORT.warnings() == []


def test_few_held_out_clips_are_said_to_show_little() -> None:
    assert replace(REPORT, held_out=50).warnings() == []
    (line,) = replace(REPORT, held_out=49).warnings()
    assert line.startswith("49 held-out clips do not show whether the student is better than untrained: ")
    assert replace(REPORT, held_out=49, untrained=encoder(0.5)).lines()[-1].startswith("ALARM")
    for few in ({"held_out": 0}, {"held_out": 1, "clips": 2}, {"held_out": 19, "teachers": ()}):
        assert replace(REPORT, **few).warnings() == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "alarm"),
    [
        ({"student": replace(REPORT.student, mean_cosine=0.96)}, "embedding is nearly constant (mean cosine 0.9600)"),
        ({"student": replace(REPORT.student, effective_rank=2.9)}, "the rank of the embedding collapsed to 2.9"),
        ({"student": replace(REPORT.student, mean_cosine=NAN)}, "the student's embeddings are not finite"),
        ({"student": encoder(0.3)}, "no more of the teacher's neighbours than mel statistics keep"),
        ({"untrained": encoder(0.5)}, "no more of the teacher's neighbours than the untrained student keeps"),
        ({"teachers": (replace(TEACHER, usable=False),)}, "nothing can be learned from one: its embedding is the same"),
    ],
)  # fmt: skip
def test_a_student_that_is_not_usable_is_an_alarm(changed: dict[str, object], alarm: str) -> None:
    report = replace(REPORT, **changed)  # type: ignore[arg-type]
    assert alarm in report.alarm
    assert report.lines()[-1] == f"ALARM: {report.alarm}"
    assert not replace(report, clips=2).alarm  # too few clips for a conclusion


def test_a_low_rank_is_no_alarm_where_mel_statistics_have_one_too() -> None:
    low = replace(REPORT.student, effective_rank=2.0)
    assert not replace(REPORT, student=low, mel=replace(REPORT.mel, effective_rank=2.5)).alarm


def test_a_teacher_with_little_to_distil_is_named() -> None:
    (line,) = replace(REPORT, teachers=(replace(TEACHER, crops=CropMatches(40, 0.9, 0.88, 0.05)),)).warnings()
    assert line.startswith("perhaps little to distil from one")
    assert "(88 %)" in line
    assert "(90 %)" in line


def test_measures_that_are_not_finite_are_null_in_json_and_a_dash_in_the_table() -> None:
    report = replace(REPORT, student=replace(REPORT.student, mean_cosine=NAN, sensitivity=Sensitivity(NAN, 0.0, 1.0)))
    values = json.loads(report.as_json())
    assert values["student"]["mean_cosine"] is None
    assert values["student"]["sensitivity"] == {"gain": None, "noise": 0.0, "shift": 1.0}
    assert values["teachers"][0]["crops"]["teacher"] == 0.9
    assert cells(report)["change by gain / noise / shift"][0] == "- / 0.00 / 1.00"


def test_the_agreement_with_several_teachers_is_their_mean() -> None:
    assert mean_agreement([agreement(0.2), agreement(0.4)]).neighbours == pytest.approx(0.3)
    assert math.isnan(mean_agreement([]).neighbours)
