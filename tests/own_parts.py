"""A teacher and a student as a user writes them; the README shows these."""

from __future__ import annotations

import torch

import distill


class Loudness(distill.Teacher):
    """Level in three bands."""

    sample_rate = 16_000

    def __init__(self, bands: int = 3) -> None:
        super().__init__()
        self.bands = bands

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        spectrum = torch.stft(batch.waveform, 256, window=torch.hann_window(256), return_complex=True).abs()
        bands = torch.stack([band.mean((1, 2)) for band in spectrum.chunk(self.bands, dim=1)], dim=1)
        return distill.Embeddings.of_clip((bands + 1e-5).log())


class TinyConvolution(distill.Student):
    """One convolution on the waveform."""

    sample_rate = 16_000

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv1d(1, channels, 64, stride=32)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(self.convolution(batch.waveform.unsqueeze(1)).abs().mean(2))
