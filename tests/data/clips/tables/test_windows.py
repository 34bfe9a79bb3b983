"""Starts and durations of rows, column by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distill.data.clips.tables.columns import Columns
from distill.data.clips.tables.windows import windows_of

NAMES = Columns((), "start", "end", "duration", None, None, None)


@pytest.mark.parametrize(
    ("start", "end", "duration", "window"),
    [
        ("1.5", "4", "", (1.5, 2.5)),
        (1.5, None, 2, (1.5, 2.0)),
        ("", "4", "9", (0.0, 4.0)),
        (" 1 ", "", "", (1.0, np.nan)),
        (None, None, None, (0.0, np.nan)),
        ("0.1", "0.3", "", (0.1, 0.3 - 0.1)),
        (np.float32(0.5), np.int64(2), None, (0.5, 1.5)),
    ],
)
@pytest.mark.parametrize("neighbour", ["1", "word"])  # with a word, the column is read cell by cell
def test_a_window_of_each_row(start: Any, end: Any, duration: Any, window: tuple[float, float], neighbour: str) -> None:
    columns = {"start": [start, neighbour], "end": [end, "3"], "duration": [duration, ""]}
    starts, durations, problems = windows_of(columns, NAMES, 2)
    np.testing.assert_array_equal([starts[0], durations[0]], window)
    assert list(problems) == ([] if neighbour == "1" else [1])


def test_without_columns_each_row_is_a_whole_file() -> None:
    starts, durations, problems = windows_of({}, Columns((), None, None, None, None, None, None), 3)
    assert starts.tolist() == [0, 0, 0]
    assert np.isnan(durations).all()
    assert not problems
