"""The state of each clip's audio file when it was embedded, so that an update finds what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.data.files import write_atomically

STAMP = np.dtype([("size", "<u8"), ("time", "<i8"), ("window", "<u4"), ("content", "<u4")])
"""One clip: size of its file in bytes; time of its last change in nanoseconds since 1970; digest of its start and
duration, never 0; digest of the content of its file, 0 if it was not read.

A file that cannot be read has size 0 and time 0. All numbers are 0: the state is not known."""

Stamps = NDArray[np.void]
"""Records of `STAMP`. Shape (rows,)."""


def read_stamps(path: Path, rows: int) -> Stamps:
    """Read the stamps of a shard. They are unknown if the file does not exist or belongs to other rows."""
    try:
        stamps = np.fromfile(path, STAMP)
    except FileNotFoundError:
        return unknown_stamps(rows)
    return stamps if len(stamps) == rows else unknown_stamps(rows)


def write_stamps(path: Path, stamps: Stamps) -> None:
    """Write the stamps of a shard, atomically."""
    write_atomically(path, lambda file: file.write(stamps.tobytes()))


def unknown_stamps(rows: int) -> Stamps:
    """Return stamps of unknown states."""
    return np.zeros(rows, STAMP)


@dataclass(frozen=True)
class Comparison:
    """Two states of the same files.

    Args:
        unchanged: Whether each file and window is the same, as far as is known. Shape (rows,).
        unknown: Whether the earlier state is unknown. Shape (rows,).
        stamps: The earlier stamps, those of unchanged files renewed. Shape (rows,).
    """

    unchanged: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    stamps: Stamps


def compare(before: Stamps, now: Stamps, content_of: Callable[[int], int]) -> Comparison:
    """Compare the states of files.

    A file of equal size and time is unchanged. A file of equal size and another time is read: it is unchanged if its
    content has the same digest. A file of unknown state counts as unchanged.

    Args:
        before: Stamps of the store.
        now: Stamps of today, without content.
        content_of: Function of a row that reads its file and returns the digest of the content.
    """
    unknown = before["window"] == 0
    same = (before["window"] == now["window"]) & (before["size"] == now["size"])
    same_time = before["time"] == now["time"]
    unchanged, stamps = unknown | (same & same_time), before.copy()
    stamps[unknown] = now[unknown]
    for row in np.flatnonzero(same & ~same_time & (before["content"] != 0)).tolist():
        if content_of(row) == before["content"][row]:
            unchanged[row], stamps["time"][row] = True, now["time"][row]
    return Comparison(unchanged, unknown, stamps)
