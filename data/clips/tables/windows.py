"""The times of the rows of a table: which part of a file each clip is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.tables.columns import Columns

_MAX_SECONDS = 1e9  # 31 years
Problem = tuple[str, str]


def windows_of(
    columns: Mapping[str, Sequence[Any]], names: Columns, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], dict[int, Problem]]:
    """Return the start and the duration of each row in seconds, and the problem of each row that has one.

    Args:
        columns: Values of the columns of a chunk.
        names: Names of the columns. The end counts before the duration.
        count: Number of rows.

    Returns:
        Starts, shape (count,), 0 where none is given; durations, shape (count,), NaN for the rest of the file; and
        reason and detail by the place of the row.
    """
    starts, durations = np.zeros(count), np.full(count, np.nan)
    problems: dict[int, Problem] = {}
    if names.start is not None:
        starts, is_given = _seconds(names.start, columns[names.start], problems)
        starts[~is_given] = 0
    has_duration = np.zeros(count, bool)
    if names.duration is not None:
        durations, has_duration = _seconds(names.duration, columns[names.duration], problems)
    if names.end is not None:
        ends, has_end = _seconds(names.end, columns[names.end], problems)
        durations = np.where(has_end, ends - starts, durations)
        has_duration = has_duration | has_end
    with np.errstate(invalid="ignore"):
        possible = (starts >= 0) & (starts <= _MAX_SECONDS)
        possible &= ~has_duration | ((durations > 0) & (durations <= _MAX_SECONDS))
    for place in np.flatnonzero(~possible).tolist():
        length = f"of {durations[place]:g} s " if has_duration[place] else ""
        problems.setdefault(
            place, ("bad_window", f"a window {length}that starts at {starts[place]:g} s is empty or impossible")
        )
    return starts, durations, problems


def _seconds(
    column: str, values: Sequence[Any], problems: dict[int, Problem]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the numbers of a column, NaN for an empty cell, and a mask of the cells that are not empty.

    A cell that is not a number is added to the problems.
    """
    is_given = np.fromiter((value is not None and value != "" for value in values), bool, len(values))
    try:
        return np.array(
            [value if given else np.nan for value, given in zip(values, is_given.tolist(), strict=True)], np.float64
        ), is_given
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(len(values), np.nan)
    for place in np.flatnonzero(is_given).tolist():
        try:
            numbers[place] = float(values[place])
        except (TypeError, ValueError, OverflowError):
            shown = repr(values[place])[:80]
            problems[place] = ("bad_window", f"{column} is {shown}, not a number of seconds")
    return numbers, is_given
