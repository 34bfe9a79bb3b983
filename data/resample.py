"""The one resampler of the project: a cached clip and a live one must be the same samples."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.transforms import Resample

RESAMPLER = "torchaudio sinc_interp_hann width 6 rolloff 0.99"  # part of every fingerprint


def resample(waveform: Tensor, source: int, target: int) -> Tensor:
    """Resample (..., samples) from `source` to `target` Hz; a clip of n samples gets `resampled_length(n)`."""
    if source == target:
        return waveform
    return _filter(source, target, waveform.device)(waveform)


def resampled_length(samples: int, source: int, target: int) -> int:
    """Samples after resampling: ceil(samples * target / source)."""
    return -(-samples * target // source)


@lru_cache(maxsize=64)
def _filter(source: int, target: int, device: torch.device) -> Resample:
    return Resample(source, target).to(device)
