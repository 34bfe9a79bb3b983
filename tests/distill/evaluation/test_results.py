"""Results of probes: their files, and the rows of a comparison."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from distill.evaluation.bootstrap import Difference, Interval
from distill.evaluation.cost import Cost
from distill.evaluation.results import MEL, TEACHER, UNTRAINED, Baseline, Named, ProbeResult, entries_of

COST = Cost(10.0, 1_000, 2_000_000, 0.01, 1 << 20, "1 thread")
OTHER_COST = replace(COST, parameters=None)
RESULT = ProbeResult(
    "linear", "auto", "accuracy", 0.6, 0.1, {"1": 0.6}, [0.6], {"mAP": 0.5}, 100, 4, "drums", "runs/a", "student",
    {"one": "teacher"}, COST, 40, Interval(0.5, 0.7),
)  # fmt: skip


def baseline(role: str, identity: str, score: float) -> Baseline:
    lead = Difference(0.6 - score, 0.0, 1.0)
    over_mel = None if role == MEL else Difference(0.1, -0.1, 0.3)
    return Baseline(role, f"model of {identity}", identity, score, Interval(0.0, 1.0), lead, over_mel, OTHER_COST)


WHOLE = replace(RESULT, baselines=(baseline(MEL, "mel", 0.5), baseline(TEACHER, "teacher", 0.8)))


def test_a_result_is_equal_after_it_was_written_as_json() -> None:
    for result in (WHOLE, RESULT):
        assert ProbeResult.from_json(json.loads(json.dumps(asdict(result)))) == result


def test_a_file_of_an_earlier_version_has_no_interval_and_no_baselines() -> None:
    values = json.loads(json.dumps(asdict(RESULT)))
    for name in ("test_clips", "interval", "baselines"):
        del values[name]
    old = ProbeResult.from_json(values | {"cost": {}})
    assert (old.test_clips, old.interval, old.baselines, old.cost) == (0, None, (), None)
    with pytest.raises(TypeError, match="unknown"):
        ProbeResult.from_json(values | {"unknown": 1})
    with pytest.raises(TypeError, match="score"):
        ProbeResult.from_json({name: value for name, value in values.items() if name != "score"})


def test_names_and_cost_are_added_to_the_scores() -> None:
    named = RESULT.of(Named("birds", "runs/b", "other", {}), OTHER_COST)
    assert named == replace(RESULT, data="birds", model="runs/b", identity="other", teachers={}, cost=OTHER_COST)


def test_rows_are_sorted_by_score_and_state_what_is_a_baseline() -> None:
    rows = entries_of([("a", WHOLE)])
    assert [(row.name, row.score, row.is_baseline) for row in rows] == [
        ("model of teacher", 0.8, True), ("a", 0.6, False), ("model of mel", 0.5, True),
    ]  # fmt: skip
    assert (rows[1].spread, rows[1].interval, rows[1].teachers, rows[1].cost) == (
        0.1, Interval(0.5, 0.7), {"one": "teacher"}, COST,
    )  # fmt: skip
    assert (rows[0].spread, rows[0].teachers, rows[0].cost) == (0.0, {}, OTHER_COST)


def test_a_baseline_of_several_results_or_with_a_probe_of_its_own_has_one_row() -> None:
    other = replace(WHOLE, identity="b", score=0.7)
    probed = replace(RESULT, identity="teacher", score=0.9, teachers={})
    rows = entries_of([("a", WHOLE), ("b", other), ("big", probed)])
    assert [(row.name, row.score) for row in rows] == [("big", 0.9), ("b", 0.7), ("a", 0.6), ("model of mel", 0.5)]


def test_an_untrained_student_has_the_name_of_its_run() -> None:
    rows = entries_of([("a", replace(RESULT, baselines=(baseline(UNTRAINED, "random", 0.2),)))])
    assert [row.name for row in rows] == ["a", "a, untrained"]
