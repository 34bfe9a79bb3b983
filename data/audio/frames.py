"""Masks, means and padding for clips of unequal length."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """Return a mask (batch, frames) that is True at the first `valid` (batch,) positions of each row."""
    return torch.arange(frames, device=valid.device) < valid.unsqueeze(1)


def masked_mean(frames: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the frames (batch, time, dim) where the mask (batch, time) is True. Shape (batch, dim).

    The mean of a clip without any valid frame is 0. Frames in half precision are summed in float32, whose range holds
    the sum of many.
    """
    exact = torch.promote_types(frames.dtype, torch.float32)
    weights = mask.unsqueeze(2).to(exact)
    return ((frames * weights).sum(1) / weights.sum(1).clamp(min=1)).to(frames.dtype)


def remove_mean(waveform: Tensor, lengths: Tensor) -> Tensor:
    """Subtract from each clip the mean of its valid samples. Return 0 after the end of each clip.

    Args:
        waveform: Zero-padded clips. Shape (batch, samples).
        lengths: Valid samples of each clip, int64. Shape (batch,).
    """
    valid = frame_mask(lengths, waveform.shape[1])
    mean = (waveform * valid).sum(1, keepdim=True) / lengths.clamp(min=1).unsqueeze(1)
    return (waveform - mean) * valid


def pad_to(waveform: Tensor, samples: int) -> Tensor:
    """Return (batch, samples), zero-padded to `samples` samples if it is shorter."""
    if _is_at_least(waveform, samples):
        return waveform  # padding by 0 would copy
    return F.pad(waveform, (0, max(0, samples - waveform.shape[1])))


def overlapping(samples: Tensor, size: int, hop: int, count: int) -> Tensor:
    """Return frames that begin every `hop` samples, as `Tensor.unfold`, by slices only.

    Every runtime of exported graphs has slices. To gather the samples takes ten times as long in ONNX Runtime.

    Args:
        samples: Shape (..., samples).
        size: Samples of a frame.
        hop: Samples from the start of one frame to the next.
        count: Number of frames.

    Returns:
        Shape (..., count, size).
    """
    blocks = (size + hop - 1) // hop  # of a frame
    total = count + blocks - 1
    rows = F.pad(samples, (0, blocks * hop))[..., : total * hop].unflatten(-1, (total, hop))
    return torch.cat([rows[..., block : block + count, :] for block in range(blocks)], -1)[..., :size]


def _is_at_least(waveform: Tensor, samples: int) -> bool:
    """Return whether every clip has `samples` samples. In a graph with a free length: whether this is known."""
    if not torch.compiler.is_compiling():
        return waveform.shape[1] >= samples
    # A comparison would fix the free length, and the padding's maximum breaks torch.export's guards on frames.
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(waveform.shape[1] >= samples)
