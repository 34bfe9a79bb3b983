"""Windows of clips, without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.encoders.tiling import Covered, Tiling, Windows, cut_in_windows

RATE = 100


def tiling(seconds: float, hop: float | None = 0.0) -> Tiling:
    return Windows(seconds, hop).tiling(lambda length: Covered(0.0, length - 0.1))


@pytest.mark.parametrize("piece", [7, 100, 1_000])
@pytest.mark.parametrize(("hop", "expected"), [(0.0, [0, 100, 200]), (0.5, [0, 50, 100, 150, 200]), (1.5, [0, 150])])
def test_pieces_of_any_size_give_the_windows_of_the_whole(piece: int, hop: float, expected: list[int]) -> None:
    clip = np.arange(230, dtype=np.float32)
    pieces = (clip[first : first + piece] for first in range(0, len(clip), piece))
    found = list(cut_in_windows(pieces, tiling(1.0, hop), RATE))
    assert [start for start, _ in found] == expected
    for start, samples in found:
        np.testing.assert_array_equal(samples, clip[start : start + 100])


def test_windows_overlap_by_what_no_frame_covers() -> None:
    found = tiling(1.0, None)
    assert (found.hop, found.is_gapless) == (0.9, True)
    assert found.in_samples(RATE) == (100, 90)


def test_counts_of_samples_are_those_of_seconds() -> None:
    lengths = np.arange(1, 900)
    for windows in (tiling(1.0), tiling(1.0, None), tiling(0.5, 2.0)):
        expected = windows.counts(lengths / RATE)
        np.testing.assert_array_equal(windows.counts_in_samples(lengths, RATE), expected)


def test_no_samples_give_no_window() -> None:
    assert not list(cut_in_windows([], tiling(1.0), RATE))


@pytest.mark.parametrize(("seconds", "hop"), [(-1.0, None), (0.001, None), (float("inf"), None), (1.0, -1.0)])
def test_impossible_windows_are_refused(seconds: float, hop: float | None) -> None:
    with pytest.raises(ValueError, match="windows"):
        Windows(seconds, hop)
