"""Kaldi's log-mel filter bank, for the teachers AST, SSAST and BEATs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.bands import BandSums, Workspace, energies_by_piece
from distill.data.audio.filters import kaldi_filters
from distill.data.audio.frames import frame_mask, overlapping, pad_to
from distill.data.audio.memory import may_reuse_memory
from distill.data.audio.precision import Float32Module
from distill.data.audio.transform import FactoredTransform

_POINTS = 512  # of the transform of a frame


class KaldiFbank(Float32Module):
    """Kaldi's log-mel filter bank: torchaudio.compliance.kaldi.fbank without dither, for batches.

    Frames of 25 ms every 10 ms at 16 kHz lie wholly inside the clip. Each loses its mean and gets pre-emphasis 0.97.
    The power spectrum of 512 points is weighted by triangles on Kaldi's mel scale from 20 Hz to 8 kHz. The result is
    the natural logarithm, as (logarithm - mean) / scale.

    Args:
        bands: Number of mel bands.
        window: "hanning" (AST, SSAST) or "povey" (BEATs).
        full_scale: Factor of the samples: 1, or 32768 as in Kaldi (BEATs).
        mean: Subtracted from the logarithm.
        scale: Divisor of the difference.
    """

    sample_rate = 16_000
    window_samples = 400
    hop = 160
    window_function: Tensor
    shift: Tensor

    def __init__(
        self, bands: int = 128, window: str = "hanning", full_scale: float = 1.0, mean: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        hann = torch.hann_window(self.window_samples, periodic=False)
        weights = (hann if window == "hanning" else hann**0.85) * full_scale
        self.register_buffer("window_function", weights, persistent=False)
        self.sums = BandSums(kaldi_filters(bands, points=_POINTS))
        self._in_graphs = FactoredTransform(_POINTS, self.window_samples)
        self.mean, self.scale = mean, scale
        self.register_buffer("shift", torch.tensor(-mean / scale), persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """Return the number of frames of clips with `samples` samples, int64, at least 1. Same shape."""
        return ((samples - self.window_samples) // self.hop + 1).clamp(min=1)

    def samples(self, frames: int) -> int:
        """Return the number of samples of a clip with `frames` frames."""
        return (frames - 1) * self.hop + self.window_samples

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute (batch, time, bands) from (batch, samples). A clip shorter than a window is zero-padded to one."""
        return self._normalised(waveform)

    def of_length(self, waveform: Tensor, lengths: Tensor, frames: int, normalised_zeros: bool = True) -> Tensor:
        """Compute the first `frames` frames of each clip, padded with zeros. Shape (batch, frames, bands).

        Args:
            waveform: Zero-padded clips at 16 kHz. Shape (batch, samples).
            lengths: Valid samples of each clip. Shape (batch,).
            frames: Frames of the result.
            normalised_zeros: True normalises the zeros of the padding, as -mean / scale. False keeps them 0.
        """
        zero = -self.mean / self.scale if normalised_zeros else 0.0
        waveform, valid = waveform[:, : self.samples(frames)], self.frames(lengths)
        time = int(self.frames(torch.tensor(waveform.shape[1])))
        fbank = waveform.new_empty(len(waveform), frames, self.sums.bands, dtype=torch.float32)
        self._normalised(waveform, fbank[:, :time])
        fbank[:, time:] = zero
        if lengths.device.type != "cpu" or bool((valid < time).any()):  # the host must not wait for another device
            fbank.masked_fill_(~frame_mask(valid, frames).unsqueeze(2), zero)
        return fbank

    def _normalised(self, waveform: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute (batch, time, bands) from (batch, samples). `out` is memory for the result; None allocates it."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = pad_to(waveform.float(), self.window_samples)
            if torch.compiler.is_exporting():
                count = (waveform.shape[1] - self.window_samples) // self.hop + 1
                return self._logarithm(self._energies(overlapping(waveform, self.window_samples, self.hop, count)), out)
            frames = waveform.unfold(1, self.window_samples, self.hop)
            if may_reuse_memory(frames):
                support = slice(0, self.window_samples)
                return energies_by_piece(frames, self._apply_window, support, _POINTS, self.sums, self._logarithm, out)
            return self._logarithm(self._energies(frames), out)

    def _energies(self, frames: Tensor) -> Tensor:
        """Compute the band energies (..., bands) of frames of samples (..., 400)."""
        frames = frames - frames.mean(-1, keepdim=True)
        # The first sample of a frame has no predecessor, and the window is zero there.
        emphasised = (frames[..., 1:] - 0.97 * frames[..., :-1]).mul_(self.window_function[1:])
        if torch.compiler.is_exporting():
            return self.sums(self._in_graphs(F.pad(emphasised, (1, 0))))
        spectrum = torch.fft.rfft(F.pad(emphasised, (1, _POINTS - self.window_samples)))
        return self.sums(spectrum.real.square() + spectrum.imag.square())

    def _apply_window(self, frames: Tensor, workspace: Workspace) -> None:
        """Centre, emphasise and window frames, with the same order of roundings as `_energies`."""
        # Whole rows are twice as fast as parts of rows. The product lies in the memory of the result, which keeps less
        # memory in the cache.
        centred, product = workspace.scratch, workspace.windowed
        torch.sub(frames, frames.mean(-1, keepdim=True), out=centred)
        torch.mul(centred, 0.97, out=product)
        centred[..., 1:].sub_(product[..., :-1])
        torch.mul(centred, self.window_function, out=workspace.windowed)

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        logarithm = energies.clamp_(min=torch.finfo(torch.float32).eps).log_()
        return torch.add(self.shift, logarithm, alpha=1 / self.scale, out=out)
