"""The rows of metrics.csv while a run trains."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.module import AudioData
from distill.data.clips.sources import read_manifest
from distill.data.sampling.orders import UniformOrder
from distill.objectives.objective import Objective
from distill.training.distiller import Distiller
from distill.training.engine import Engine
from distill.training.keep_alive import KeepAlive
from distill.training.optimizer import Optimizer
from distill.training.progress import Progress
from distill.training.trainer import quiet, trainer
from tests.own_parts import TinyConvolution


class Counted(Objective):
    """An objective whose loss is the number of the training batch."""

    def __init__(self) -> None:
        super().__init__(TinyConvolution(), {"counted": 1.0})
        self.count = 0

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        self.count += self.training
        self.observed = {"twice": 2.0 * self.count}
        return {"counted": self.student(batch).clip.mean() * 0 + (self.count if self.training else 50.0)}


def train(sounds: Path, folder: Path, row_interval: int) -> list[dict[str, str]]:
    """Train for two epochs of three batches, and return the rows without their empty cells."""
    manifest = read_manifest(sounds)
    clips = ClipDataset(manifest, 16_000, Crop())
    data = AudioData(clips, clips, UniformOrder(len(clips)), batch_size=2, batches=6)
    metrics = folder / "metrics.csv"
    callbacks = [KeepAlive(folder / "checkpoints", data, 10.0), Progress(metrics, data, row_interval)]
    torch.manual_seed(0)
    with quiet():
        fitting = trainer(Engine(accelerator="cpu", workers=0), data, callbacks, folder)
        fitting.fit(Distiller(Counted(), Optimizer(learning_rate=1e-3), len(data.sampler())), datamodule=data)
    with open(metrics, newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_row_is_the_mean_of_the_batches_since_the_last_one(sounds: Callable[..., Path], tmp_path: Path) -> None:
    rows = train(sounds(6, seconds=0.1), tmp_path, row_interval=4)
    training = [row for row in rows if "loss" in row]
    assert [(row["batch"], row["epoch"]) for row in training] == [("4", "1.333"), ("6", "2.000")]
    assert [float(row["loss"]) for row in training] == [(1 + 2 + 3 + 4) / 4, (5 + 6) / 2]
    assert [float(row["twice"]) for row in training] == [5, 11]
    assert all(float(row["clips_per_second"]) > 0 and 0 <= float(row["data_wait"]) <= 1 for row in training)
    assert float(training[0]["learning_rate"]) == pytest.approx(1e-3, rel=1)


def test_a_row_of_validation_stands_at_the_end_of_each_epoch(sounds: Callable[..., Path], tmp_path: Path) -> None:
    rows = train(sounds(6, seconds=0.1), tmp_path, row_interval=100)
    validation = [row for row in rows if "validation_loss" in row]
    assert [(row["batch"], row["epoch"]) for row in validation] == [("3", "1.000"), ("6", "2.000")]
    assert [float(row["validation_loss"]) for row in validation] == [50, 50]
    assert [float(row["validation_twice"]) for row in validation] == [6, 12]
