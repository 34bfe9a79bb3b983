"""Masks, means and padding for clips of unequal length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """Return a mask (batch, frames) that is True at the first `valid` (batch,) positions of each row."""
    return torch.arange(frames, device=valid.device) < valid.unsqueeze(1)


def pad_to(waveform: Tensor, samples: int) -> Tensor:
    """Return (batch, samples), zero-padded to `samples` samples if it is shorter."""
    if _is_at_least(waveform, samples):
        return waveform  # padding by 0 would copy
    return F.pad(waveform, (0, max(0, samples - waveform.shape[1])))


def _is_at_least(waveform: Tensor, samples: int) -> bool:
    """Return whether every clip has `samples` samples. In a graph with a free length: whether this is known."""
    if not torch.compiler.is_compiling():
        return waveform.shape[1] >= samples
    # A comparison would fix the free length, and the padding's maximum breaks torch.export's guards on frames.
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(waveform.shape[1] >= samples)
