"""The momentum of batch normalisation, and its statistics at the end of a run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.training.batch_norm import first_fixed_step, fix_statistics, warm_momentum


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


def test_fixed_statistics_stay_and_normalise_while_the_scale_learns() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5)).train()
    network(torch.randn(4, 1, 8, 8))
    fix_statistics(network)
    mean, variance = network[1].running_mean.clone(), network[1].running_var.clone()
    hidden = network[0](torch.randn(4, 1, 8, 8) + 5)
    outputs = network[1](hidden)
    outputs.square().sum().backward()
    assert torch.equal(network[1].running_mean, mean)
    expected = (hidden - mean[:, None, None]) / (variance + network[1].eps).sqrt()[:, None, None]
    torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)
    assert network[1].weight.grad.abs().sum() > 0
    assert network[2].training


@pytest.mark.parametrize(
    ("norm", "by_length", "first"),
    [
        (nn.BatchNorm1d(2), True, 1860),
        (nn.SyncBatchNorm(2), True, 1860),
        (nn.BatchNorm1d(2), False, None),
        (nn.LayerNorm(2), True, None),
    ],
)
def test_the_last_quarter_has_fixed_statistics_if_batches_are_sorted(
    norm: nn.Module, by_length: bool, first: int | None
) -> None:
    assert first_fixed_step(nn.Sequential(nn.Linear(2, 2), norm), 2480, by_length) == first
