"""Crops of clips, their labels, and the fingerprint of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.read import CHANNEL_POLICY
from distill.data.audio.resample import RESAMPLER
from distill.data.clips.dataset import ClipDataset, Crop, input_fingerprint
from distill.data.clips.manifest import Manifest, Row
from distill.data.sampling.batches import BatchSampler, Draws
from distill.data.sampling.orders import UniformOrder

RATE = 8_000


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """Return a file of one second whose samples are their times in seconds."""
    path = tmp_path / "ramp.wav"
    soundfile.write(path, np.arange(RATE, dtype=np.float32) / RATE, RATE, subtype="FLOAT")
    return path


def ramps(path: Path, crop: Crop, clips: int = 1, seed: int = 0) -> ClipDataset:
    rows = tuple(Row(f"{number}", path) for number in range(clips))
    return ClipDataset(Manifest(path, rows), RATE, crop, seed=seed)


def part(clips: ClipDataset, row: Row) -> tuple[float, float]:
    """Return the start and end of a loaded clip, in seconds."""
    samples = clips.clip(row).samples
    return float(samples[0]), float(samples[-1]) + 1 / RATE


@pytest.mark.parametrize(
    ("crop", "whole", "window"),
    [
        (Crop(0.25, "start"), (0.0, 0.25), (0.5, 0.75)),
        (Crop(0.25, "centre"), (0.375, 0.625), (0.575, 0.825)),
        (Crop(0.0, "centre"), (0.0, 1.0), (0.5, 0.9)),
        (Crop(2.0, "centre"), (0.0, 1.0), (0.5, 0.9)),
    ],
)
def test_a_crop_lies_at_its_position_in_a_file_and_in_a_window(
    crop: Crop, whole: tuple[float, float], window: tuple[float, float], ramp: Path
) -> None:
    clips = ramps(ramp, crop)
    assert part(clips, Row("whole", ramp)) == pytest.approx(whole, abs=1e-6)
    assert part(clips, Row("window", ramp, start=0.5, duration=0.4)) == pytest.approx(window, abs=1e-6)


def starts(clips: ClipDataset, batches: BatchSampler) -> list[dict[str, float]]:
    """Return the start of each clip, in seconds, for each epoch."""
    epochs: list[dict[str, float]] = []
    for number, draws in enumerate(batches):
        if number % batches.batches_per_epoch == 0:
            epochs.append({})
        batch = clips.__getitems__(draws).batch
        assert batch is not None
        epochs[-1].update(zip(batch.ids, batch.waveform[:, 0].tolist(), strict=True))
    return epochs


def test_a_random_crop_differs_by_epoch_and_clip_and_is_equal_in_each_run(ramp: Path) -> None:
    crop, order = Crop(0.1, "random"), UniformOrder(8, seed=3)
    first, second, third = starts(ramps(ramp, crop, 8), BatchSampler(order, 4, 6))
    positions = [*first.values(), *second.values(), *third.values()]
    assert len(positions) == 24
    assert len(set(positions)) == 24
    assert 0 <= min(positions) < 0.2
    assert 0.7 < max(positions) <= 0.9
    assert starts(ramps(ramp, crop, 8), BatchSampler(order, 4, 6)) == [first, second, third]
    resumed = BatchSampler(order, 4, 6)
    resumed.start = 2  # batches, an epoch
    assert starts(ramps(ramp, crop, 8), resumed) == [second, third]
    others = starts(ramps(ramp, crop, 8, seed=1), BatchSampler(order, 4, 6))
    assert all(other[clip] != first[clip] for other in others for clip in first)


def test_a_random_crop_depends_on_the_draw_and_not_on_the_row(ramp: Path) -> None:
    clips = ramps(ramp, Crop(0.1, "random"), 2)
    batch = clips.__getitems__(Draws([0, 1, 0, 0], [5, 5, 6, 5])).batch
    assert batch is not None
    begin = batch.waveform[:, 0].tolist()
    assert begin[0] == begin[1] == begin[3] != begin[2]


def test_labels_are_present_absent_or_not_annotated(ramp: Path) -> None:
    clips = ClipDataset(Manifest(ramp, ()), RATE, Crop(), classes=("a", "b", "c"))
    assert clips.labels(Row("1", ramp, labels=("c",))).tolist() == [0, 0, 1]
    some = clips.labels(Row("2", ramp, labels=("c",), annotated=("a", "c")))
    assert some.nan_to_num(nan=-1).tolist() == [0, -1, 1]
    assert ramps(ramp, Crop()).labels(Row("3", ramp, labels=("c",))).shape == (0,)


def test_the_fingerprint_of_the_input_is_complete() -> None:
    assert input_fingerprint(22_050, Crop(2.5, "start")) == {
        "sample_rate": 22_050,
        "resampler": RESAMPLER,
        "channels": CHANNEL_POLICY,
        "crop_seconds": 2.5,
        "crop_position": "start",
    }
    assert RESAMPLER
    assert CHANNEL_POLICY
