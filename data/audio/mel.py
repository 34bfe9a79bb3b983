"""Mel front-ends: batches of waveforms to log-mel spectrograms, exportable, always in float32.

Teachers and students share one implementation of each formula. Filters are buffers that are not saved.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.bands import BandSums, Compress, Workspace, energies_by_piece, unchanged
from distill.data.audio.filters import kaldi_filters, mel_filters
from distill.data.audio.frames import overlapping, pad_to
from distill.data.audio.memory import may_reuse_memory
from distill.data.audio.precision import Float32Module
from distill.data.audio.transform import FactoredTransform


class PowerSpectrum(Float32Module):
    """Power spectrogram of overlapping frames.

    Args:
        sample_rate: In Hz.
        window: Window function. Shape (window,); zero-padded on both sides to the transform.
        points: Samples of the transform.
        hop: Samples between frames.
        centred: True: frame t is centred on sample t * hop, and the clip is mirrored at its ends. False: frame t
            begins at sample t * hop.
    """

    window_function: Tensor

    def __init__(self, sample_rate: int, window: Tensor, points: int, hop: int, centred: bool = False) -> None:
        super().__init__()
        self.sample_rate, self.window, self.points, self.hop = sample_rate, len(window), points, hop
        self.centred = centred
        first = (points - len(window)) // 2
        self._support = slice(first, first + len(window))  # points of the transform that the window covers
        self._in_graphs = FactoredTransform(points, len(window))
        self.register_buffer("window_function", window, persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """Return the number of frames of clips with `samples` samples, int64, at least 1. Same shape."""
        outside = 0 if self.centred else self.points
        return (samples.clamp(min=self.points) - outside) // self.hop + 1

    def power(self, waveform: Tensor) -> Tensor:
        """Compute the power of each frequency (batch, points // 2 + 1, time) from (batch, samples), float32."""
        waveform = self.padded(waveform)
        if torch.compiler.is_exporting():
            count = (waveform.shape[1] - self.points) // self.hop + 1
            frames = overlapping(waveform[:, self._support.start :], self.window, self.hop, count)
            return self._in_graphs(frames * self.window_function).transpose(1, 2)
        spectrum = torch.stft(
            waveform, self.points, self.hop, self.window, self.window_function, center=False, return_complex=True
        )
        return spectrum.real.square() + spectrum.imag.square()

    def padded(self, waveform: Tensor) -> Tensor:
        """Return clips (batch, samples) of at least one transform, mirrored at their ends if frames are centred."""
        waveform = pad_to(waveform, self.points)
        half = self.points // 2
        return F.pad(waveform, (half, half), mode="reflect") if self.centred else waveform


class MelEnergies(PowerSpectrum):
    """Energies of mel bands of a power STFT.

    Args:
        sample_rate: In Hz.
        window: Window function. Shape (window,); zero-padded on both sides to the transform.
        points: Samples of the transform.
        hop: Samples between frames.
        filters: Weight of each frequency in each band. Shape (points // 2 + 1, bands).
        centred: True: frame t is centred on sample t * hop, and the clip is mirrored at its ends. False: frame t
            begins at sample t * hop.
    """

    def __init__(
        self, sample_rate: int, window: Tensor, points: int, hop: int, filters: Tensor, centred: bool = False
    ) -> None:
        super().__init__(sample_rate, window, points, hop, centred)
        self.sums = BandSums(filters)

    def energies(self, waveform: Tensor, compress: Compress = unchanged) -> Tensor:
        """Compute (batch, bands, time) from (batch, samples), float32.

        A clip shorter than the transform is zero-padded to it.
        """
        if not may_reuse_memory(waveform):
            return compress(self.of_power(self.power(waveform)), None)
        frames = self.padded(waveform).unfold(1, self.points, self.hop)
        energies = energies_by_piece(frames, self._apply_window, self._support, self.points, self.sums, compress)
        return energies.transpose(1, 2)

    def of_power(self, power: Tensor) -> Tensor:
        """Compute energies (batch, bands, time) from power (batch, points // 2 + 1, time)."""
        return self.sums(power.transpose(1, 2)).transpose(1, 2)

    def _apply_window(self, frames: Tensor, workspace: Workspace) -> None:
        torch.mul(frames[..., self._support], self.window_function, out=workspace.windowed)


class LogMel(MelEnergies):
    """Slaney's mel spectrogram in natural logarithm: ln(mel + offset).

    Slaney's mel scale and area normalisation, periodic Hann window. Used by S-SONDO, EfficientAT, MATPAC, `spectral`.

    Args:
        sample_rate: In Hz.
        window: Samples of the window and of the transform.
        hop: Samples between frames.
        bands: Number of mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        offset: Added before the logarithm. Sets the lowest value.
    """

    def __init__(
        self, sample_rate: int, window: int, hop: int, bands: int, low: float, high: float, offset: float
    ) -> None:
        filters = mel_filters(bands, window, sample_rate, low, high, slaney=True)
        super().__init__(sample_rate, torch.hann_window(window), window, hop, filters)
        self.offset = offset

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute (batch, bands, time) from (batch, samples) in [-1, 1]."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.energies(waveform.float(), self._logarithm)

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(energies.add_(self.offset), out=out)


class DecibelMel(MelEnergies):
    """Mel spectrogram in decibels: 10 log10(max(mel, 1e-10)). The defaults are CLAP's, 100 frames a second at 48 kHz.

    Args:
        bands: Number of mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        slaney: True: Slaney's scale, unit area (PANNs, unfused CLAP). False: HTK's scale, unit height (fused CLAP).
        points: Samples of the window and of the transform.
        hop: Samples between frames.
        sample_rate: In Hz.
    """

    def __init__(
        self,
        bands: int = 64,
        low: float = 50.0,
        high: float = 14_000.0,
        slaney: bool = True,
        points: int = 1024,
        hop: int = 480,
        sample_rate: int = 48_000,
    ) -> None:
        filters = mel_filters(bands, points, sample_rate, low, high, slaney)
        # In double precision, as in transformers: the last bits of the window change quiet bands beside a loud one.
        window = torch.hann_window(points, dtype=torch.float64).float()
        super().__init__(sample_rate, window, points, hop, filters, centred=True)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute (batch, bands, time) from (batch, samples) in [-1, 1]."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.energies(waveform.float(), _decibels)


class PasstMel(MelEnergies):
    """PaSST's mel spectrogram: pre-emphasis over the whole clip, Kaldi's bands to 15 kHz, ln(mel + 1e-5), at 32 kHz.

    Pre-emphasis shortens the clip by one sample, so 10 s give 1,000 frames.
    """

    def __init__(self, bands: int = 128) -> None:
        window = torch.hann_window(800, periodic=False)
        filters = kaldi_filters(bands, points=1024, sample_rate=32_000, low=0.0, high=15_000.0)
        super().__init__(32_000, window, points=1024, hop=320, filters=filters, centred=True)

    def frames(self, samples: Tensor) -> Tensor:
        """Return the number of frames of clips with `samples` samples, int64, at least 1. Same shape."""
        return super().frames(samples - 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute (batch, bands, time) from (batch, samples) in [-1, 1]."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            return self.energies(waveform[:, 1:] - 0.97 * waveform[:, :-1], self._logarithm)

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(energies.add_(1e-5), out=out)


def _decibels(energies: Tensor, out: Tensor | None) -> Tensor:
    return torch.mul(energies.clamp_(min=1e-10).log10_(), 10.0, out=out)
