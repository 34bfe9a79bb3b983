"""Rows, tables and sections of the speed benchmarks, without measuring anything."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from experiments.benchmarks import measure
from experiments.benchmarks.measure import Row, in_turns, table, with_section


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (Row("as fast as its goal", 1.0, 3.0, 3.0), False),
        (Row("too slow", 1.0, 2.9, 3.0), True),
        (Row("pairs decide", 1.0, 2.9, 3.0, ratio=3.1), False),
        (Row("fast enough by the share of sgemm", 1.0, 1.0, 1.15, of_sgemm=0.8, sgemm_goal=0.8), False),
        (Row("neither", 1.0, 1.0, 1.15, of_sgemm=0.79, sgemm_goal=0.8), True),
        (Row("within its limit", 0.7, None, 0.7), False),
        (Row("above its limit", 0.71, None, 0.7), True),
        (Row("without a goal", 0.71, None, math.nan), False),
    ],
)
def test_a_row_knows_whether_its_goal_is_missed(row: Row, missed: bool) -> None:
    assert row.missed == missed
    assert row.cells()[-1].endswith("(missed)") == missed


def test_a_table_leaves_out_empty_columns() -> None:
    alone = table([Row("list", 0.2, None, 0.7)])
    assert alone == ["| case | ours | goal |", "|---|---|---|", "| list | 0.2 s | at most 0.7 |"]
    both = table([Row("list", 0.2, None, 0.7), Row("embed", 2.0, 3.0, 1.15, "a loop", of_sgemm=0.9, sgemm_goal=0.8)])
    assert both[0] == "| case | ours | rival | ratio | of sgemm | goal |"
    assert both[1] == "|---|---|---|---|---|---|"
    assert both[2] == "| list | 0.2 s |  |  |  | at most 0.7 |"
    assert both[3] == "| embed | 2 s | 3 s (a loop) | 1.50 | 0.90 | 1.15, or 0.8 of sgemm |"


def test_pairs_give_the_median_ratio_and_not_the_ratio_of_medians() -> None:
    taken = iter([1.0, 2.0, 4.0, 4.0, 2.0, 6.0])
    assert in_turns(lambda: 0, lambda: 0, 3, lambda _: next(taken)) == (2.0, 4.0, 2.0)


HAND = "# Benchmarks\n\nIntroduction.\n\n## First\n\nBefore.\n\n{}\n\nBy hand.\n\n## Second\n\nOther.\n"


def test_what_was_written_by_hand_stays() -> None:
    def written(number: str) -> str:
        return f"{measure._BEGIN}\nOn {measure.machine()}.\n\n{number}\n\n{measure._END}"

    text = HAND.format(written("one"))
    assert with_section(text, "First", ["two"]) == HAND.format(written("two"))
    assert with_section(text, "Second", ["three"]) == text.replace("Other.", f"{written('three')}\n\nOther.")
    assert with_section(text, "Third", ["four"]) == f"{text}\n## Third\n\n{written('four')}\n"


def test_the_processor_and_its_wide_arithmetic_are_named() -> None:
    assert measure.processor() in measure.machine()
    assert "torch " in measure.machine()
    assert "unknown" not in measure.processor()


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    folder = measure.ROOT / "experiments" / "benchmarks"
    ended = subprocess.run([sys.executable, folder / "run.py", "heer"], capture_output=True, text=True)
    unknown, _, known = ended.stderr.strip().partition("; known: ")
    assert (ended.returncode, unknown) == (1, "unknown benchmark 'heer'")
    assert "hear" in known.split(", ")
    assert all((folder / f"{name}.py").is_file() for name in known.split(", "))
