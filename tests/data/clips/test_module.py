"""Batches for a trainer, which go on at the position where a run was stopped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from distill.data.clips.dataset import ClipDataset, Crop, Loaded
from distill.data.clips.module import AudioData
from distill.data.clips.sources import read_manifest
from distill.data.sampling.orders import UniformOrder


@pytest.fixture
def data(tmp_path: Path) -> AudioData:
    """Return eight clips for training, in five batches of three, and the same clips for validation."""
    for clip in range(8):
        soundfile.write(tmp_path / f"{clip}.wav", np.full(800, 0.1), 16_000)
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop())
    return AudioData(clips, clips, UniformOrder(8, seed=1), batch_size=3, batches=5)


def ids(batches: Iterable[Loaded]) -> list[tuple[str, ...]]:
    return [loaded.batch.ids for loaded in batches if loaded.batch is not None]


def test_validation_clips_keep_the_order_of_the_manifest(data: AudioData) -> None:
    assert [clip for batch in ids(data.val_dataloader()) for clip in batch] == [f"{clip}.wav" for clip in range(8)]


def test_training_goes_on_after_the_batches_that_are_done(data: AudioData) -> None:
    whole = ids(data.train_dataloader())
    assert len(whole) == 5
    assert {clip for batch in whole for clip in batch} <= {f"{clip}.wav" for clip in range(8)}
    data.batches_done = 1
    state = data.state_dict()
    assert state == {"batches_done": 1, "batch_size": 3}
    data.batches_done = 0
    data.load_state_dict(state)
    assert ids(data.train_dataloader()) == whole[1:]


def test_a_batch_is_moved_to_a_device_and_the_clips_set_aside_stay(data: AudioData) -> None:
    loaded = next(iter(data.val_dataloader()))
    moved = data.transfer_batch_to_device(loaded, torch.device("meta"), 0)
    assert moved.batch is not None
    assert moved.batch.waveform.device.type == "meta"
    assert moved.set_aside == loaded.set_aside
    assert data.transfer_batch_to_device(Loaded(None, ()), torch.device("meta"), 0).batch is None


@pytest.mark.parametrize(
    ("seconds", "by_length", "sorts"), [(0.1, True, True), (0.1, False, False), (0.05, True, False)]
)
def test_batches_are_sorted_if_the_clips_differ(tmp_path: Path, seconds: float, by_length: bool, sorts: bool) -> None:
    for clip, length in enumerate((0.05, seconds)):
        soundfile.write(tmp_path / f"{clip}.wav", np.full(round(length * 16_000), 0.1), 16_000)
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop())
    assert AudioData(clips, clips, UniformOrder(2), 1, 2, by_length=by_length).sorts_by_length == sorts
