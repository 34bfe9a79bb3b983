"""A teacher and a student as a user writes them, with masks of their own. The README shows similar ones."""

from __future__ import annotations

import torch
from torch.nn import functional as F

import distill


class Loudness(distill.Teacher):
    """Level in three bands."""

    sample_rate = 16_000
    weights = None

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        self.bands = bands

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        waveform, window = F.pad(batch.waveform, (0, 256)), torch.hann_window(256, device=batch.waveform.device)
        spectrum = torch.stft(waveform, 256, window=window, center=False, return_complex=True).abs()
        valid = (batch.lengths - 256).clamp(min=0) // 64 + 1
        inside = distill.frame_mask(valid, spectrum.shape[2]).unsqueeze(1)
        mean = (spectrum * inside).sum(2) / valid.unsqueeze(1)  # (batch, frequencies)
        bands = torch.stack([band.mean(1) for band in mean.chunk(self.bands, dim=1)], dim=1)
        return distill.Embeddings.of_clip((bands + 1e-5).log())


class TinyConvolution(distill.Student):
    """One convolution on the waveform."""

    sample_rate = 16_000

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv1d(1, channels, 64, stride=32)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        features = self.convolution(F.pad(batch.waveform, (0, 64)).unsqueeze(1)).abs()  # (batch, channels, time)
        valid = (batch.lengths - 64).clamp(min=0) // 32 + 1
        inside = distill.frame_mask(valid, features.shape[2]).unsqueeze(1)
        return distill.Embeddings.of_clip((features * inside).sum(2) / valid.unsqueeze(1))
