"""The slow copy of a network."""

from __future__ import annotations

import pytest
import torch

from distill.objectives.parts.moving_average import MovingAverage


def test_the_copy_is_the_average_by_its_formula_with_the_networks_buffers() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = MovingAverage(network, 0.5, 0.9, 4)
    expected = network[0].weight.detach().clone()
    for step, kept in ((1, 0.6), (2, 0.7), (4, 0.9), (6, 0.9)):
        assert average.decay(step) == pytest.approx(kept)
        torch.nn.init.normal_(network[0].weight)
        network[1].running_mean.fill_(step)
        average.follow(network, step)
        expected = kept * expected + (1 - kept) * network[0].weight.detach()
        torch.testing.assert_close(average.network[0].weight, expected)
        assert average.network[1].running_mean.eq(step).all()


def test_the_copy_has_no_gradient_and_stays_in_evaluation_mode() -> None:
    average = MovingAverage(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5)), 0.5, 0.9, 4)
    average.train()
    assert not any(module.training for module in average.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert average.state_dict().keys() == {"network.0.weight", "network.0.bias"}
