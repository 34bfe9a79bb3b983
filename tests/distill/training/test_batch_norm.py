"""The momentum of batch normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.training.batch_norm import warm_momentum


@pytest.mark.parametrize(("step", "momentum"), [(0, 1.0), (10, 0.5), (90, 0.1), (990, 0.01), (100_000, 0.01)])
def test_the_momentum_falls_to_a_floor(step: int, momentum: float) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.BatchNorm1d(3, momentum=None))
    warm_momentum(network, step)
    assert network[0].momentum == pytest.approx(momentum)
    assert network[1].momentum is None


def test_statistics_of_early_batches_are_forgotten() -> None:
    """The mean of the input moves from 0 to 5 within 35 steps; a momentum of 0.01 would leave the statistics at 0.7."""
    norm = nn.BatchNorm1d(2, momentum=0.01).train()
    for step in range(35):
        warm_momentum(norm, step)
        norm(torch.randn(64, 2) + min(5.0, step / 4))
    assert norm.running_mean == pytest.approx(torch.full((2,), 5.0), abs=0.6)
