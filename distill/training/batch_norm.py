"""The momentum of batch normalisation, so that its statistics are never those of the initial weights."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_LOWEST = 0.01  # an average over about 100 batches, which have clips of different lengths
_SHARE = 10  # the average is over about the last tenth of the steps so far


def warm_momentum(network: nn.Module, step: int) -> None:
    """Set the momentum of all batch normalisation before a training step.

    A fixed momentum of 0.01 needs 460 steps until the statistics of the initial weights have a share below 1 %. A
    student that was trained for fewer steps was nearly constant in evaluation mode.

    Args:
        network: Network in training.
        step: Number of steps that are done.
    """
    momentum = max(_LOWEST, _SHARE / (step + _SHARE))
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = momentum
