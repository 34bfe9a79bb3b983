"""What counts as a change of a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.store.stamps import STAMP, compare, read_stamps, unknown_stamps, write_stamps


@pytest.mark.parametrize(
    ("before", "now", "content", "expected"),  # stamps: size, time, window, content
    [
        ((9, 5, 1, 7), (9, 5, 1, 0), None, "unchanged"),  # the file is not read
        ((9, 5, 1, 7), (9, 6, 1, 0), 7, "renewed"),  # copied
        ((9, 5, 1, 7), (9, 6, 1, 0), 8, "changed"),
        ((9, 5, 1, 7), (8, 6, 1, 0), None, "changed"),  # another size
        ((9, 5, 1, 7), (9, 5, 2, 0), None, "changed"),  # another window
        ((9, 5, 1, 7), (9, 6, 2, 0), None, "changed"),
        ((9, 5, 1, 0), (9, 6, 1, 0), None, "changed"),  # too large to be read
        ((9, 5, 1, 7), (0, 0, 1, 0), None, "changed"),  # cannot be read any more
        ((0, 0, 1, 0), (0, 0, 1, 0), None, "unchanged"),  # could not be read, and cannot now
        ((0, 0, 1, 0), (9, 6, 1, 0), None, "changed"),
        ((0, 0, 0, 0), (9, 6, 1, 0), None, "unknown"),
    ],
)
def test_a_file_is_compared_by_size_time_window_and_content(
    before: tuple[int, ...], now: tuple[int, ...], content: int | None, expected: str
) -> None:
    reads = []

    def content_of(row: int) -> int:
        reads.append(row)
        assert content is not None
        return content

    earlier, today = np.array([before], STAMP), np.array([now], STAMP)
    found = compare(earlier, today, content_of)
    assert bool(found.unchanged[0]) == (expected != "changed")
    assert bool(found.unknown[0]) == (expected == "unknown")
    assert reads == ([] if content is None else [0])
    if expected == "renewed":
        assert found.stamps.tolist() == [(9, 6, 1, 7)]
    elif expected == "unknown":
        assert found.stamps.tolist() == [now]
    else:
        assert found.stamps.tolist() == [before]
    assert earlier.tolist() == [before]


def test_a_stamp_takes_24_bytes() -> None:
    assert STAMP.itemsize == 24


def test_stamps_are_read_as_written_and_those_of_other_rows_are_unknown(tmp_path: Path) -> None:
    stamps = np.array([(1, 2, 3, 4), (5, -6, 7, 8)], STAMP)
    write_stamps(tmp_path / "s", stamps)
    assert (tmp_path / "s").stat().st_size == 48
    assert read_stamps(tmp_path / "s", 2).tolist() == stamps.tolist()
    for path, rows in (("s", 3), ("none", 2)):
        assert read_stamps(tmp_path / path, rows).tolist() == unknown_stamps(rows).tolist()
