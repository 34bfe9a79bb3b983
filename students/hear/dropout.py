"""Dropout with a fast mask on a CPU.

The mask takes a quarter of the time of torch's. Drawing torch's mask took a seventh of HEAR's training time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STEPS = 1 << 16


class Dropout(nn.Module):
    """Dropout as `torch.nn.Dropout`: sets a share of values to zero in training, and scales the others.

    On a CPU, four values share one 64-bit random number, so the share is exact to 1/65536.

    Args:
        share: Share of values that are dropped, from 0 to below 1. 0 disables dropout.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Drop values of any shape. Return the same shape."""
        if not self.training or not self.share or values.device.type != "cpu":
            return F.dropout(values, self.share, self.training)
        return (values * self.draw_mask(values.shape, values.device)).mul_(1 / (1 - self.share))

    def draw_mask(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Return a random mask of this shape, bool: True where a value is kept."""
        if device.type != "cpu":
            return torch.rand(*shape, device=device) >= self.share
        count = math.prod(shape)
        bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[:count] >= round(self.share * _STEPS) - _STEPS // 2
        return kept.view(*shape)
