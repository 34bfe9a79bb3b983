"""Exponential moving average of the weights of a network."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class MovingAverage(nn.Module, Generic[ModuleT]):
    """Exponential moving average of a network's weights, without gradient and always in evaluation mode.

    It is a module of the objective, so that checkpoints contain it.

    Args:
        network: Network whose copy is the initial average.
        start: Decay in the first step: the share of the old average that is kept.
        end: Decay from step `steps` on. It changes linearly in between.
        steps: Number of optimizer steps in which the decay changes.
    """

    def __init__(self, network: ModuleT, start: float, end: float, steps: int) -> None:
        super().__init__()
        self.network: ModuleT = copy.deepcopy(network).requires_grad_(False).eval()
        self.start, self.end, self.steps = start, end, steps

    def train(self, mode: bool = True) -> MovingAverage[ModuleT]:
        """Keep evaluation mode, whatever `mode` is."""
        return super().train(False)

    def decay(self, step: int) -> float:
        """Return the share of the old average that is kept in a step. Steps count from 1."""
        return self.end if step >= self.steps else self.start + (self.end - self.start) * step / self.steps

    @torch.no_grad()
    def follow(self, network: ModuleT, step: int) -> None:
        """Update the average after an optimizer step. Buffers are copied."""
        decay = self.decay(step)
        for average, parameter in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(parameter.to(average.dtype), 1 - decay)
        for copied, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)
