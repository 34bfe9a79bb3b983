"""The time of a training step, by a clock that runs one second at each look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import Loaded
from distill.objectives.objective import Objective
from distill.training import trial
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer
from distill.training.trial import measured_step
from tests.own_parts import TinyConvolution


class Level(Objective):
    """An objective that counts its calls."""

    def __init__(self) -> None:
        super().__init__(TinyConvolution(), {"level": 1.0})
        self.calls = 0

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        self.calls += 1
        return {"level": self.student(batch).clip.square().mean()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time advance by one second between two looks."""
    seconds = count()
    monkeypatch.setattr(trial, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))


def data(batches: int, empty: int = 0) -> Any:
    """Return a source of loaded batches; the first ones have no clip."""

    def loader() -> Iterator[Loaded]:
        for number in range(batches):
            yield Loaded(None if number < empty else AudioBatch.of(torch.randn(2, 1_600), 16_000), ())

    return SimpleNamespace(train_dataloader=loader)


def step(objective: Objective, source: Any) -> float:
    return measured_step(objective, source, Optimizer(learning_rate=0.1), Engine(accelerator="cpu"))


@pytest.mark.usefixtures("clock")
def test_warm_up_and_the_number_of_steps_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_MAX_SECONDS", 1e9)
    objective = Level()
    # 33 looks in the loop, of which the third begins the measurement, and one after it: 31 seconds for 30 steps.
    assert step(objective, data(1_000)) == pytest.approx(31 / 30)
    assert objective.calls == 33


@pytest.mark.usefixtures("clock")
def test_the_measurement_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_MAX_SECONDS", 5.5)
    objective = Level()
    assert step(objective, data(1_000)) == pytest.approx((7 - 3) / 3)
    assert objective.calls == 6


@pytest.mark.usefixtures("clock")
def test_runs_shorter_than_the_warm_up_and_batches_without_clips_are_measured() -> None:
    assert step(Level(), data(2)) == pytest.approx(3 / 2)
    assert step(Level(), data(0)) == pytest.approx(1)
    objective = Level()
    step(objective, data(5, empty=2))
    assert objective.calls == 3


def test_the_objective_is_trained(tmp_path: Path) -> None:
    objective = Level()
    before = objective.student.convolution.weight.clone()
    assert step(objective, data(4)) > 0
    assert not objective.student.convolution.weight.equal(before)
    assert objective.training
