"""The order of teachers, their intervals, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from distill.evaluation.bootstrap import draw_weights
from distill.evaluation.cost import Cost
from distill.evaluation.ranking import Candidate, Ranking, Resampled, Sample, rank_candidates, share

CLIPS = 200


def hits(number: int, seed: int = 0) -> np.ndarray:
    """Return hits of some of the clips, at random places."""
    found = np.zeros(CLIPS, bool)
    found[np.random.default_rng(seed).permutation(CLIPS)[:number]] = True
    return found


def candidate(name: str, crops: np.ndarray | None, probe: np.ndarray | None = None, latency: float = 0.1) -> Candidate:
    cost = Cost(10.0, 1_000, 0, latency, 0, "CPU")
    scores = (None if one is None else share(one) for one in (probe, crops))
    return Candidate(name, name, *scores, 12.0, cost)


def ranking(*teachers: Candidate, mel: np.ndarray, probe: bool = False, pairs: int = CLIPS) -> Ranking:
    metric, classes = ("accuracy", 3) if probe else ("", 0)
    sample = Sample("drums", CLIPS, 4, 300, metric, classes, CLIPS if probe else 0, pairs)
    baseline = candidate("mel statistics", mel if pairs else None, mel if probe else None)
    return rank_candidates(sample, teachers, baseline)


def test_a_share_is_resampled_like_every_score() -> None:
    found = hits(50)
    measured = share(found)
    assert measured.score == 0.25
    slow = [np.repeat(found, draws).mean() for draws in draw_weights(CLIPS)]
    np.testing.assert_allclose(measured.samples, slow)


def test_the_best_is_first_and_is_taken_if_it_is_clearly_above_mel() -> None:
    found = ranking(candidate("weak", hits(90)), candidate("strong", hits(150)), mel=hits(60))
    assert [teacher.name for teacher in found.teachers] == ["strong", "weak"]
    assert found.best == "strong"
    strong, weak = (teacher.score for teacher in found.teachers)
    assert strong.over_mel.value == pytest.approx(0.45)
    assert strong.behind_best == (0, 0, 0)
    assert weak.behind_best.value == pytest.approx(0.3)
    assert weak.interval.low < 0.45 < weak.interval.high
    lines = found.lines()
    assert any(line.startswith("strong is above mel statistics by 0.4500 [") for line in lines)
    assert lines[-1] == "perhaps take strong: no labels confirm it"
    assert any(line.startswith("no labels: the crops rank the teachers") for line in lines)
    assert "4 clips are left out for all: not every encoder could embed them" in lines


def test_differences_are_paired() -> None:
    """Six clips more of the same clips are a clear difference; the intervals of the scores overlap."""
    mel, more = hits(60), hits(66)
    (teacher,) = ranking(candidate("slightly better", more), mel=mel).teachers
    assert teacher.score.over_mel.low > 0
    assert teacher.score.interval.low < 0.3


def test_a_teacher_like_mel_has_little_to_distil() -> None:
    found = ranking(candidate("same", hits(62)), candidate("lower", hits(20)), mel=hits(61))
    assert found.best is None
    like, below, take = found.lines()[-3:]
    assert like.startswith("same scores like mel statistics on your data (+0.0050 [+0.0000, ")
    assert below.startswith("lower scores below mel statistics on your data (-0.2050 [-")
    assert like.endswith("): there is little to distil")
    assert below.endswith("): there is little to distil")
    assert take == "take none of them: no teacher is clearly above mel statistics"
    assert [line.split("  ")[0] for line in found.lines()[5:8]] == ["same", "mel statistics", "lower"]


def test_a_wide_interval_may_hide_a_better_teacher() -> None:
    """The same shares as above, of other clips: the interval of the difference is wide."""
    (line, _) = ranking(candidate("other", hits(62, 1)), mel=hits(60)).lines()[-2:]
    assert line.endswith("): there is little to distil, or there are too few clips to see more")


def test_a_teacher_that_does_not_differ_from_the_best_is_named_with_its_time() -> None:
    found = ranking(candidate("slow", hits(150), latency=0.4), candidate("fast", hits(148, 2)), mel=hits(60))
    assert found.best == "slow"
    assert found.lines()[-1].startswith("fast does not differ clearly from it (0.0100 below [-")
    assert found.lines()[-1].endswith("and takes 0.25 times its time")


def test_labels_rank_before_crops() -> None:
    first = candidate("by crops", hits(190), probe=hits(100))
    second = candidate("by probe", hits(10), probe=hits(150))
    found = ranking(first, second, mel=hits(60), probe=True)
    assert found.best == "by probe"
    assert found.teachers[0].crops is not None
    assert found.teachers[0].crops.behind_best.value == pytest.approx(0.9)  # the best of the crops
    assert found.lines()[-1] == "take by probe"
    assert not any(line.startswith("no labels") for line in found.lines())
    assert "probe: accuracy of the linear probe, 200 test clips, 3 classes" in found.lines()
    short = ranking(candidate("short", None, probe=hits(150)), mel=hits(60), probe=True, pairs=0)
    header = next(line for line in short.lines() if "effective rank" in line)
    assert " ".join(header.split()) == "probe effective rank parameters ms per second of sound"


def test_unknown_parameters_are_said() -> None:
    cost = Cost(10.0, None, 0, 0.05, 0, "CPU")
    unknown = Candidate("file", "file", None, Resampled(0.5, np.full(1000, 0.5)), 3.0, cost)
    row = next(line for line in ranking(unknown, mel=hits(60)).lines() if line.startswith("file "))
    assert row.split()[-3:] == ["3.0", "unknown", "5"]
