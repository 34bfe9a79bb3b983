"""The part of a clip that is used, and the lengths of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.clips.crop import TOO_LONG, ClipSpan, Crop, Seconds, clip_seconds, row_seconds
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import AudioError


@pytest.mark.parametrize(("position", "place"), [("start", 0.0), ("centre", 0.5)])
def test_a_crop_lies_at_the_start_or_in_the_middle(position: str, place: float) -> None:
    assert Crop(1.0, position).place(0, 3) == place


def test_a_random_crop_depends_on_seed_and_draw() -> None:
    places = [Crop(1.0, "random").place(seed, draw) for seed, draw in [(0, 0), (0, 1), (1, 0)]]
    assert len({*places, 0.0, 1.0}) == 5
    assert Crop(1.0, "random").place(0, 1) == places[1]


@pytest.mark.parametrize(("seconds", "position"), [(-1.0, "start"), (float("nan"), "start"), (1.0, "middle")])
def test_an_impossible_crop_is_refused(seconds: float, position: str) -> None:
    with pytest.raises(ValueError, match="crop"):
        Crop(seconds, position)


def test_a_span_measures_the_part_that_the_crop_leaves() -> None:
    span = ClipSpan.of(Row("x", Path("x"), start=1.0, duration=4.0), Crop(2.0), 0.5)
    assert span.in_samples(100, 1_000) == (200, 200)
    assert span.measured == [Seconds(2.0, 4.0)]


def test_a_part_that_is_too_long_is_measured_and_refused() -> None:
    span = ClipSpan.of(Row("x", Path("x")), Crop(0.0), 0.0, longest_seconds=5.0)
    with pytest.raises(AudioError) as error:
        span.in_samples(100, 1_000)
    assert error.value.reason == TOO_LONG
    assert span.measured == [Seconds(10.0, 10.0)]


def test_lengths_are_stated_or_read_and_0_for_a_broken_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(8_000), 4_000)
    (tmp_path / "y.wav").write_bytes(b"no sound")
    rows = [Row("a", tmp_path / "x.wav", 0.5, 0.25), Row("b", tmp_path / "x.wav", 0.5), Row("c", tmp_path / "y.wav")]
    assert clip_seconds(Manifest(tmp_path, rows)).tolist() == [0.25, 1.5, 0.0]
    assert [row_seconds(row) for row in rows] == [0.25, 1.5, 0.0]
