"""Clips as kits and libraries give them, as a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from distill.data.batch import AudioBatch, Clip, collate


def batch_of(clips: Sequence[Mapping[str, Any]], sample_rate: int) -> AudioBatch:
    """Return clips of any lengths and rates as one padded batch.

    Args:
        clips: A mapping per clip. "array": samples in [-1, 1], as a tensor, array or list, of shape (samples,) or
            (channels, samples), whose channels are averaged. "sampling_rate": in Hz.
        sample_rate: Rate of the batch, in Hz.

    Raises:
        ValueError: a clip has no samples, or samples that are integers, NaN or infinite.
    """
    rows = []
    for number, clip in enumerate(clips):
        samples = torch.as_tensor(clip["array"])
        samples = samples.mean(0) if samples.dim() == 2 else samples
        if samples.dim() != 1 or not len(samples) or not samples.is_floating_point():
            raise ValueError(
                f"clip {number}: {samples.dtype} of shape {tuple(samples.shape)}: must be floating point in [-1, 1], "
                "of shape (samples,) or (channels, samples), with at least one sample"
            )
        if not samples.isfinite().all():
            raise ValueError(f"clip {number} has samples that are NaN or infinite")
        rows.append(Clip(str(number), samples.float(), int(clip["sampling_rate"]), torch.zeros(0)))
    return collate(rows, sample_rate)
