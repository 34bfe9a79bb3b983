"""Kaldi's log-mel filter bank."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.bands import BandSums, Room, Weigh, energies_in_cache
from distill.data.audio.filters import kaldi_filters
from distill.data.audio.frames import frame_mask, pad_to
from distill.data.audio.memory import may_reuse_memory

_KALDI_POINTS = 512  # of the transform of a frame


class KaldiFbank(nn.Module):
    """Kaldi's log-mel filter bank, as torchaudio.compliance.kaldi.fbank computes it without dither, but batched.

    Frames of 25 ms every 10 ms at 16 kHz, wholly inside the clip; each frame's mean removed; pre-emphasis 0.97;
    power spectrum of 512 points; triangular filters on Kaldi's mel scale from 20 Hz to 8 kHz; natural logarithm.

    Args:
        bands: Number of mel bands.
        window: "hanning" (AST, SSAST) or "povey" (BEATs).
        full_scale: What samples of 1 count as: 1, or 32768 as in Kaldi itself (BEATs).
        mean: Subtracted from the logarithm.
        scale: By which the difference is divided.
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
        self.sums = BandSums(kaldi_filters(bands, points=_KALDI_POINTS))
        self.mean, self.scale = mean, scale
        self.register_buffer("shift", torch.tensor(-mean / scale), persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames lie inside clips of so many samples, int64; at least one."""
        return ((samples - self.window_samples) // self.hop + 1).clamp(min=1)

    def samples(self, frames: int) -> int:
        """Samples of a clip of so many frames."""
        return (frames - 1) * self.hop + self.window_samples

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, time, bands); a clip shorter than a window is zero-padded to one."""
        return self._normalised(waveform)

    def of_length(self, waveform: Tensor, lengths: Tensor, frames: int, normalised_zeros: bool = True) -> Tensor:
        """The first `frames` frames of each clip, and zeros where it has fewer. Shape (batch, frames, bands).

        Args:
            waveform: Zero-padded clips at 16 kHz. Shape (batch, samples).
            lengths: Valid samples of each clip. Shape (batch,).
            frames: Frames of the result.
            normalised_zeros: Whether the zeros are normalised like the logarithms, or stand beside normalised ones.
        """
        zero = -self.mean / self.scale if normalised_zeros else 0.0
        waveform, valid = waveform[:, : self.samples(frames)], self.frames(lengths)
        time = int(self.frames(torch.tensor(waveform.shape[1])))
        fbank = waveform.new_empty(len(waveform), frames, self.sums.bands, dtype=torch.float32)
        self._normalised(waveform, fbank[:, :time])
        fbank[:, time:] = zero
        if bool((valid < time).any()):
            fbank.masked_fill_(~frame_mask(valid, frames).unsqueeze(2), zero)
        return fbank

    def _normalised(self, waveform: Tensor, into: Tensor | None = None) -> Tensor:
        """Fbank (batch, time, bands) of (batch, samples), in new memory unless it is given."""
        with torch.autocast(waveform.device.type, enabled=False):
            frames = pad_to(waveform.float(), self.window_samples).unfold(1, self.window_samples, self.hop)
            if may_reuse_memory(frames):
                place = slice(0, self.window_samples)
                return energies_in_cache(
                    frames, self._emphasised, place, _KALDI_POINTS, self.sums, self._logarithm, into
                )
            return self._logarithm(self._energies(frames), into)

    def _energies(self, frames: Tensor) -> Tensor:
        """Windows of samples (..., 400) -> (..., bands)."""
        frames = frames - frames.mean(-1, keepdim=True)
        # The first sample of a frame has no predecessor, and the window is zero there.
        emphasised = (frames[..., 1:] - 0.97 * frames[..., :-1]).mul_(self.window_function[1:])
        spectrum = torch.fft.rfft(F.pad(emphasised, (1, _KALDI_POINTS - self.window_samples)))
        return self.sums(spectrum.real.square() + spectrum.imag.square())

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        logarithm = energies.clamp_(min=torch.finfo(torch.float32).eps).log_()
        return torch.add(self.shift, logarithm, alpha=1 / self.scale, out=out)

    def _emphasised(self, room: Room) -> Weigh:
        """The first half of `_energies`, in the same order of roundings."""
        # Rows are read and written whole where that can be: a step of such rows takes half the time of others. What is
        # taken off lies where the result will, so that less memory must stay in the cache.
        centred, before, window = room.scratch, room.weighed, self.window_function
        later, earlier = centred[..., 1:], before[..., :-1]

        def weigh(frames: Tensor) -> None:
            torch.sub(frames, frames.mean(-1, keepdim=True), out=centred)
            torch.mul(centred, 0.97, out=before)
            later.sub_(earlier)
            torch.mul(centred, window, out=room.weighed)

        return weigh
