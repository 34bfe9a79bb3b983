"""Every step of a run: the limit of its gradient, and the progress that the student gets."""

from __future__ import annotations

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
from distill.students.cnn import CNN
from distill.training.distiller import Distiller
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer
from distill.training.trainer import quiet, trainer
from tests.distill.commands.test_fit import fit
from tests.own_parts import TinyConvolution


class Steep(Objective):
    """A loss with a gradient scaled by a factor. It records the gradient of each step."""

    def __init__(self, steepness: float) -> None:
        super().__init__(TinyConvolution(), {"steep": 1.0})
        self.steepness = steepness
        self.norms: list[float] = []

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        return {"steep": self.steepness * self.student(batch).clip.mean()}

    def after_step(self, step: int) -> None:
        gradients = [parameter.grad.flatten() for parameter in self.parameters() if parameter.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


def run(objective: Objective, optimizer: Optimizer, sounds: Path, folder: Path, fixed_from: int | None = None) -> None:
    """Four steps."""
    manifest = read_manifest(sounds)
    clips, nothing = (ClipDataset(part, 16_000, Crop()) for part in (manifest, manifest.subset([])))
    data = AudioData(clips, nothing, UniformOrder(len(clips)), batch_size=len(clips) // 2, batches=4)
    with quiet():
        fitting = trainer(Engine(accelerator="cpu", workers=0), data, [], folder)
        fitting.fit(Distiller(objective, optimizer, len(data.sampler()), fixed_from), datamodule=data)


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
    """Records the shares of the run that it receives."""

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


class Normalised(Objective):
    """A student with batch normalisation. It records after each step whether the statistics are fixed."""

    def __init__(self) -> None:
        super().__init__(CNN(width=0.05), {"level": 1.0})
        self.fixed: list[bool] = []

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        return {"level": self.student(batch).clip.square().mean()}

    def after_step(self, step: int) -> None:
        self.fixed.append(not self.student.layers[0][1].training)


@pytest.mark.parametrize(
    ("fixed_from", "fixed"), [(2, [False, False, True, True]), (0, [True] * 4), (None, [False] * 4)]
)
def test_batch_normalisation_is_fixed_from_a_step_on(
    sounds: Callable[..., Path], tmp_path: Path, fixed_from: int | None, fixed: list[bool]
) -> None:
    objective = Normalised()
    run(objective, Optimizer(), sounds(4, seconds=0.3), tmp_path, fixed_from)
    assert objective.fixed == fixed
