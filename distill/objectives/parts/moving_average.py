"""A slow copy of a network, which follows it and teaches it."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class MovingAverage(nn.Module, Generic[M]):
    """An exponential moving average of a network's weights: no gradient, always in evaluation mode.

    It is a part of the objective, so that checkpoints hold it.

    Args:
        network: It begins as a copy of this, and follows it.
        start: Share of the old average that is kept in a step, at first.
        end: The same from `steps` on; in a line between.
        steps: Steps of the optimiser.
    """

    def __init__(self, network: M, start: float, end: float, steps: int) -> None:
        super().__init__()
        self.network: M = copy.deepcopy(network).requires_grad_(False).eval()
        self.start, self.end, self.steps = start, end, steps

    def train(self, mode: bool = True) -> MovingAverage[M]:
        """Stays in evaluation mode."""
        return super().train(False)

    def decay(self, step: int) -> float:
        """Share of the old average that is kept in a step, which counts from 1."""
        return self.end if step >= self.steps else self.start + (self.end - self.start) * step / self.steps

    @torch.no_grad()
    def follow(self, network: M, step: int) -> None:
        """Move towards the network, after a step of the optimiser; buffers are copied."""
        kept = self.decay(step)
        for slow, fast in zip(self.network.parameters(), network.parameters(), strict=True):
            slow.lerp_(fast.to(slow.dtype), 1 - kept)
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)
