"""Signal front-ends: waveform to log-mel, batched, exportable, in float32 whatever the precision of the run.

One implementation per formula, shared by teachers and students. Filters are buffers that no checkpoint holds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks


class LogMel(nn.Module):
    """Mel spectrogram of a power STFT without centring, in natural logarithm: ln(mel + offset).

    Frame t covers samples [t * hop, t * hop + window); Slaney's mel scale and area normalisation, periodic Hann.

    Args:
        sample_rate: In Hz.
        window: Samples of the window and of the transform.
        hop: Samples between frames.
        bands: Number of mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        offset: Added before the logarithm; sets the floor.
    """

    window_function: Tensor
    filters: Tensor

    def __init__(
        self, sample_rate: int, window: int, hop: int, bands: int, low: float, high: float, offset: float
    ) -> None:
        super().__init__()
        self.sample_rate, self.window, self.hop, self.bands, self.offset = sample_rate, window, hop, bands, offset
        filters = melscale_fbanks(window // 2 + 1, low, high, bands, sample_rate, norm="slaney", mel_scale="slaney")
        self.register_buffer("window_function", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames lie inside clips of so many samples, int64; at least one."""
        return ((samples - self.window) // self.hop + 1).clamp(min=1)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] -> (batch, bands, time); a clip shorter than a window is zero-padded to one."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = F.pad(waveform.float(), (0, max(0, self.window - waveform.shape[1])))
            spectrum = torch.stft(
                waveform, self.window, self.hop, window=self.window_function, center=False, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(self.filters.T @ power + self.offset)


class KaldiFbank(nn.Module):
    """Kaldi's log-mel filter bank, as torchaudio.compliance.kaldi.fbank computes it without dither, but batched.

    Frames of 25 ms every 10 ms at 16 kHz, wholly inside the clip; each frame's mean removed; pre-emphasis 0.97;
    power spectrum of 512 points; triangular filters on Kaldi's mel scale from 20 Hz to 8 kHz; natural logarithm.

    Args:
        bands: Number of mel bands.
        window: "hanning" (AST, SSAST) or "povey" (BEATs).
    """

    sample_rate = 16_000
    window_samples = 400
    hop = 160
    window_function: Tensor
    filters: Tensor

    def __init__(self, bands: int = 128, window: str = "hanning") -> None:
        super().__init__()
        hann = torch.hann_window(self.window_samples, periodic=False)
        self.register_buffer("window_function", hann if window == "hanning" else hann**0.85, persistent=False)
        self.register_buffer("filters", _kaldi_filters(bands), persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames lie inside clips of so many samples, int64; at least one."""
        return ((samples - self.window_samples) // self.hop + 1).clamp(min=1)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, time, bands); a clip shorter than a window is zero-padded to one."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = F.pad(waveform.float(), (0, max(0, self.window_samples - waveform.shape[1])))
            frames = waveform.unfold(1, self.window_samples, self.hop)
            frames = frames - frames.mean(2, keepdim=True)
            previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            frames = (frames - 0.97 * previous) * self.window_function
            spectrum = torch.fft.rfft(F.pad(frames, (0, 512 - self.window_samples)))
            power = spectrum.real.square() + spectrum.imag.square()
            return (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()


def _kaldi_filters(bands: int) -> Tensor:
    """Triangles that are linear in mel, without area normalisation. Shape (257, bands); the Nyquist row is zero."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    # Rounded to float32 where Kaldi's code and torchaudio's round: narrow bands feel the last bits of a weight.
    step = (mel(8000.0) - mel(20.0)) / (bands + 1)
    band = torch.arange(bands)
    left, centre, right = (mel(20.0) + (band + edge) * step for edge in (0.0, 1.0, 2.0))
    bins = (1127.0 * (1.0 + torch.arange(256) * (16_000 / 512) / 700.0).log()).unsqueeze(1)
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    return F.pad(triangles, (0, 0, 0, 1))


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """True at the first `valid` (batch,) of `frames` positions. Shape (batch, frames)."""
    return torch.arange(frames, device=valid.device) < valid.unsqueeze(1)
