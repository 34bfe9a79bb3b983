"""The rows of `distill embed --windows`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.run.window_rows import row_tiling, window_rows


@pytest.mark.parametrize(
    ("own", "windows", "expected"),
    [
        ({"seconds": 2.0}, True, (2.0, 1.9)),  # frames of 0.1 s: the last one does not fit
        ({"seconds": 2.0, "hop": 0.0}, True, (2.0, 2.0)),
        ({"seconds": 2.0, "hop": 0.5}, True, (2.0, 0.5)),
        ({"seconds": 0.0}, True, (10.0, 9.9)),
        ({"seconds": 2.0}, 1.0, (1.0, 0.9)),
        ({"seconds": 2.0}, distill.Windows(3.0, hop=1.5), (3.0, 1.5)),
    ],
)
def test_windows_are_those_of_the_encoder_or_of_the_user(
    own: dict[str, float], windows: Any, expected: tuple[float, float], tmp_path: Path, sounds: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    teacher = distill.create_teacher("spectral", windows=distill.Windows(**own))
    manifest = read_manifest(sounds(2, seconds=7.0))
    found = window_rows(teacher, manifest, row_tiling(teacher, windows, None))
    seconds, hop = expected
    rows = [row for row in found.rows if row.id.startswith(str(manifest.ids[0]))]
    assert [row.start for row in rows[:2]] == ([0, hop] if seconds < 7 else [0])
    assert rows[0].duration == min(seconds, 7.0)
    assert f"of {seconds:g} s, one every {hop:g} s, from 2 clips" in capsys.readouterr().out


def test_a_row_is_encoded_as_it_is_also_where_windows_overlap(sounds: Callable[..., Path]) -> None:
    teacher = distill.create_teacher("spectral", windows=distill.Windows(2.0, hop=0.5))
    window_rows(teacher, read_manifest(sounds(1)), row_tiling(teacher, True, None))
    assert teacher.longest_whole == 2.0


@pytest.mark.parametrize(
    ("windows", "crop", "message"),
    [
        (True, distill.Crop(), "omit --crop"),
        (0.0, None, "--windows 0: must be above 0 and at most 3, in seconds"),
        (3.5, None, "--windows 3.5: must be above 0 and at most 3, in seconds"),
        (-1.0, None, "--windows -1: windows: seconds -1.0"),
        (distill.Windows(1.0, pooling="max"), None, "each window is a row"),
    ],
)
def test_windows_that_do_not_fit_are_refused(windows: Any, crop: distill.Crop | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        row_tiling(distill.create_teacher("musicnn"), windows, crop)
