"""The check that an encoder computes in the data type that it is moved to."""

from __future__ import annotations

import copy

import torch
from torch.nn import functional as F

from distill.data.encoders.encoder import Encoder
from distill.data.encoders.windows import Windows

DTYPES = [torch.float16, torch.bfloat16, torch.float64]
_COSINE = {torch.float16: 0.999, torch.bfloat16: 0.98, torch.float64: 0.999999}  # to float32, at least


def check_dtype(encoder: Encoder, dtype: torch.dtype) -> None:
    """Assert that embeddings are of `dtype`, finite and close to those of float32, whole and in windows."""
    rate = encoder.sample_rate
    waveform = torch.randn(2, int(2.5 * rate), generator=torch.Generator().manual_seed(0)) * 0.1
    lengths = torch.tensor([int(2.5 * rate), int(1.3 * rate)])
    for seconds in (0.0, 1.0):
        encoder.windows = Windows(seconds=seconds)
        expected = encoder.embed(waveform, rate, lengths)
        moved = copy.deepcopy(encoder).to(dtype)
        assert moved.dtype == dtype
        found = moved.embed(waveform, rate, lengths)
        for name in ("clip", "frames", "logits"):
            tensor = getattr(found, name)
            assert tensor.dtype == dtype, name
            assert tensor.isfinite().all(), name
            assert tensor.shape == getattr(expected, name).shape, name
        for name in ("clip", "logits"):
            cosine = F.cosine_similarity(getattr(found, name).float(), getattr(expected, name).float(), dim=1)
            assert not cosine.numel() or not tensor.numel() or float(cosine.min()) > _COSINE[dtype], (name, cosine)
        assert found.frame_mask.equal(expected.frame_mask)
        back = moved.to(torch.float32).embed(waveform, rate, lengths).clip
        assert float(F.cosine_similarity(back, expected.clip, dim=1).min()) > _COSINE[dtype]
