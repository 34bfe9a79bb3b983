"""Schedules of the learning rate, what happens in every step of a run, and the memory of a process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
from distill.training.optimizer import Optimizer
from distill.training.trainer import quiet, trainer
from tests.conftest import GOLDEN
from tests.distill.test_fit import fit
from tests.own_parts import TinyConvolution


def test_efficientats_schedule_equals_the_official_one_at_each_of_its_200_epochs() -> None:
    optimizer = Optimizer(schedule="efficientat", warmup=0.04, floor=0.01)
    official = np.load(GOLDEN / "ssondo" / "lr_schedule.npz")["factor_default_8_95_80_0.01"][:200]
    np.testing.assert_allclose([optimizer.factor(epoch, 200) for epoch in range(200)], official, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "efficientat"])
def test_every_schedule_rises_to_one_and_never_rises_again(schedule: str) -> None:
    optimizer = Optimizer(schedule=schedule, warmup=0.1, floor=0.05)
    factors = np.array([optimizer.factor(step, 1000) for step in range(1001)])
    assert factors.max() == pytest.approx(1.0, abs=1e-2)
    assert (np.diff(factors[:100]) >= 0).all()
    assert (np.diff(factors[101:]) <= 0).all()
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.05)
    assert all(0 < factor <= 1 for factor in factors)


def test_freed_memory_is_used_again() -> None:
    script = """
import resource, torch
from distill.run.memory import keep_freed_memory

keep_freed_memory()
faults = []
for _ in range(20):  # blocks of a step; of 48 MB, 11,700 pages, glibc keeps none by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(numbers) for numbers in (1_000_000, 3_000_000, 5_000_000, 12_000_000)]
    del held
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""
    faults = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(faults) < 100


class Steep(Objective):
    """A loss whose gradient is so many times that of the mean; it remembers what gradient each step was made with."""

    def __init__(self, steepness: float) -> None:
        super().__init__(TinyConvolution(), {"steep": 1.0})
        self.steepness = steepness
        self.norms: list[float] = []

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        return {"steep": self.steepness * self.student(batch).clip.mean()}

    def after_step(self, step: int) -> None:
        gradients = [parameter.grad.flatten() for parameter in self.parameters() if parameter.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


def run(objective: Objective, optimizer: Optimizer, sounds: Path, folder: Path) -> None:
    """Two epochs of two steps."""
    manifest = read_manifest(sounds)
    clips, nothing = (ClipDataset(part, 16_000, Crop()) for part in (manifest, manifest.subset([])))
    data = AudioData(clips, nothing, UniformOrder(len(clips)), batch_size=len(clips) // 2, epochs=2)
    with quiet():
        fitting = trainer(Engine(accelerator="cpu", workers=0), data, [], folder)
        fitting.fit(Distiller(objective, optimizer, len(data.sampler())), datamodule=data)


def test_no_step_is_made_with_a_gradient_above_the_limit(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(4, seconds=0.1)
    norms = {}
    for steepness in (1.0, 1000.0):
        for limit in (0.0, 5.0):
            torch.manual_seed(0)
            objective = Steep(steepness)
            run(objective, Optimizer(learning_rate=1e-9, clip_norm=limit), data, tmp_path)
            norms[steepness, limit] = objective.norms
    assert all(len(steps) == 4 for steps in norms.values())
    assert 0.1 < min(norms[1.0, 0.0]) < max(norms[1.0, 0.0]) < 5.0
    assert norms[1.0, 5.0] == norms[1.0, 0.0]
    assert norms[1000.0, 5.0] == pytest.approx([5.0] * 4, rel=1e-4)
    assert norms[1000.0, 0.0] == pytest.approx([1000.0 * norm for norm in norms[1.0, 0.0]], rel=1e-4)


class Told(TinyConvolution):
    """Remembers which shares of the run it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []

    def on_progress(self, share: float) -> None:
        self.shares.append(share)


def test_a_student_is_told_before_each_step_how_much_of_the_run_is_done(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    student = Told()
    fit(sounds(8, seconds=0.1), tmp_path / "run", student=student, epochs=3, batch_size=4, validation=0.0)
    assert student.shares == pytest.approx([step / 6 for step in range(6)])
