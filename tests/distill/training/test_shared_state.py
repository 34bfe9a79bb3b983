"""Statistics that several processes share, compared with those of one process that sees all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.objectives.objective import Objective
from distill.objectives.parts.moving_average import MovingAverage
from distill.objectives.parts.statistics import Standardise
from distill.training.shared_state import SharedState
from distill.training.world import World
from tests.distill.training.ranks import on_ranks
from tests.own_parts import TinyConvolution

RANKS = 2


class Normalised(Objective):
    """A student and a slow copy with batch normalisation, and targets that are standardised by all of them so far."""

    shared_statistics = ("centre",)

    def __init__(self) -> None:
        super().__init__(TinyConvolution(), {"loss": 1.0})
        self.layer = nn.BatchNorm1d(3, momentum=0.5)
        self.standardise = Standardise(3)
        self.slow = MovingAverage(self.layer, 0.9, 0.9, 1)
        self.register_buffer("centre", torch.zeros(3))
        self.register_buffer("constant", torch.full((3,), 0.1))

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        raise NotImplementedError

    def see(self, vectors: Tensor) -> None:
        self.layer(vectors)
        self.standardise(vectors)
        self.centre = self.centre.lerp(vectors.mean(0), 0.1)
        self.slow.follow(self.layer, 1)


def vectors_of(step: int) -> Tensor:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(step)) * (1 + step) + step


def train(world: World, steps: int = 4) -> Normalised:
    objective = Normalised()
    with torch.no_grad():
        objective.centre += world.rank  # a state that differs at the start
        shared = SharedState(objective, world)
        shared.begin()
        for step in range(steps):
            objective.see(vectors_of(step)[world.rank :: world.size])
            shared.average_statistics()
        shared.average_batch_norm()
    return objective


def test_statistics_of_two_processes_are_those_of_one() -> None:
    one = train(World())
    for two in on_ranks(RANKS, train):
        assert isinstance(two, Normalised)
        torch.testing.assert_close(two.centre, one.centre)
        torch.testing.assert_close(two.layer.running_mean, one.layer.running_mean)
        torch.testing.assert_close(two.slow.network.running_mean, one.layer.running_mean)
        # Each has its own mean in the first step, so the variances agree later only.
        torch.testing.assert_close(two.standardise.mean, one.standardise.mean)
        assert two.constant.equal(one.constant)


def test_the_spread_between_the_processes_is_a_part_of_the_variance() -> None:
    def run(world: World) -> nn.BatchNorm1d:
        objective = Normalised()
        objective.layer.running_mean.fill_(10.0 * world.rank)
        objective.layer.running_var.fill_(1.0)
        SharedState(objective, world).average_batch_norm()
        return objective.layer

    for layer in on_ranks(RANKS, run):
        assert isinstance(layer, nn.BatchNorm1d)
        assert layer.running_mean.tolist() == pytest.approx([5.0] * 3)
        assert layer.running_var.tolist() == pytest.approx([26.0] * 3)  # of values 1 apart around 0 and around 10


def test_all_processes_have_the_same_statistics_after_each_step() -> None:
    first, second = (list(objective.buffers()) for objective in on_ranks(RANKS, train))  # type: ignore[union-attr]
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))


def test_the_variance_of_standardised_targets_comes_close_to_that_of_one_process() -> None:
    one = train(World(), steps=100)
    for two in on_ranks(RANKS, lambda world: train(world, steps=100)):
        assert isinstance(two, Normalised)
        ratio = (two.standardise.squares / two.standardise.count) / (one.standardise.squares / one.standardise.count)
        assert ratio.tolist() == pytest.approx([1.0] * 3, rel=0.02)


def test_a_single_process_changes_nothing() -> None:
    objective = Normalised()
    objective.see(vectors_of(1))
    before = [buffer.clone() for buffer in objective.buffers()]
    shared = SharedState(objective, World())
    shared.begin()
    shared.average_statistics()
    shared.average_batch_norm()
    assert all(one.equal(other) for one, other in zip(before, objective.buffers(), strict=True))
