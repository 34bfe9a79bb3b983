"""Signal front-ends: waveform to log-mel, batched, exportable, in float32 whatever the precision of the run.

One implementation per formula, shared by teachers and students. Filters are buffers that no checkpoint holds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.bands import BandSums, Compress, Room, Weigh, energies_in_cache, unchanged
from distill.data.batch import AudioBatch
from distill.data.memory import may_reuse_memory

_KALDI_POINTS = 512  # of the transform of a frame


class PowerSpectrum(nn.Module):
    """Power spectrogram of overlapping frames.

    Args:
        sample_rate: In Hz.
        window: Window function. Shape (window,); zero-padded on both sides to the transform.
        points: Samples of the transform.
        hop: Samples between frames.
        centred: Whether frame t is centred on sample t * hop, with the clip mirrored at its ends, or begins there.
    """

    window_function: Tensor

    def __init__(self, sample_rate: int, window: Tensor, points: int, hop: int, centred: bool = False) -> None:
        super().__init__()
        self.sample_rate, self.window, self.points, self.hop = sample_rate, len(window), points, hop
        self.centred = centred
        self.register_buffer("window_function", window, persistent=False)

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames clips of so many samples have, int64; at least one."""
        outside = 0 if self.centred else self.points
        return (samples.clamp(min=self.points) - outside) // self.hop + 1

    def power(self, waveform: Tensor) -> Tensor:
        """(batch, samples) float32 -> power of each frequency (batch, points // 2 + 1, time)."""
        spectrum = torch.stft(
            self.padded(waveform), self.points, self.hop, self.window, self.window_function,
            center=False, return_complex=True,
        )  # fmt: skip
        return spectrum.real.square() + spectrum.imag.square()

    def padded(self, waveform: Tensor) -> Tensor:
        """Clips (batch, samples) as long as a transform, mirrored at their ends where frames are centred."""
        waveform = _at_least(waveform, self.points)
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
        centred: Whether frame t is centred on sample t * hop, with the clip mirrored at its ends, or begins there.
    """

    def __init__(
        self, sample_rate: int, window: Tensor, points: int, hop: int, filters: Tensor, centred: bool = False
    ) -> None:
        super().__init__(sample_rate, window, points, hop, centred)
        self.sums = BandSums(filters)

    def energies(self, waveform: Tensor, compress: Compress = unchanged) -> Tensor:
        """(batch, samples) float32 -> (batch, bands, time); a clip shorter than the transform is zero-padded to it."""
        if not may_reuse_memory(waveform):
            return compress(self.of_power(self.power(waveform)), None)
        before = (self.points - self.window) // 2
        place = slice(before, before + self.window)

        def windowed(room: Room) -> Weigh:
            return lambda frames: torch.mul(frames[..., place], self.window_function, out=room.weighed)

        frames = self.padded(waveform).unfold(1, self.points, self.hop)
        return energies_in_cache(frames, windowed, place, self.points, self.sums, compress).transpose(1, 2)

    def of_power(self, power: Tensor) -> Tensor:
        """Power (batch, points // 2 + 1, time) -> energies (batch, bands, time)."""
        return self.sums(power.transpose(1, 2)).transpose(1, 2)


class LogMel(MelEnergies):
    """Slaney's mel spectrogram in natural logarithm: ln(mel + offset).

    Slaney's mel scale and area normalisation, periodic Hann. S-SONDO and EfficientAT, MATPAC, `spectral`.

    Args:
        sample_rate: In Hz.
        window: Samples of the window and of the transform.
        hop: Samples between frames.
        bands: Number of mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        offset: Added before the logarithm; sets the floor.
    """

    def __init__(
        self, sample_rate: int, window: int, hop: int, bands: int, low: float, high: float, offset: float
    ) -> None:
        filters = mel_filters(bands, window, sample_rate, low, high, slaney=True)
        super().__init__(sample_rate, torch.hann_window(window), window, hop, filters)
        self.offset = offset

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] -> (batch, bands, time)."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.energies(waveform.float(), self._logarithm)

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(energies.add_(self.offset), out=out)


class ClapMel(MelEnergies):
    """CLAP's mel spectrogram in decibels: 10 log10(max(mel, 1e-10)), 100 frames a second at 48 kHz.

    Args:
        bands: Number of mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        slaney: Slaney's scale and area normalisation (unfused checkpoints) or HTK's scale and none (fused ones).
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
        # In double precision, as in transformers: quiet bands beside a loud one hear the last bits of a window.
        window = torch.hann_window(points, dtype=torch.float64).float()
        super().__init__(sample_rate, window, points, hop, filters, centred=True)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] -> (batch, bands, time)."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.energies(waveform.float(), _decibels)


class PasstMel(MelEnergies):
    """PaSST's mel spectrogram: pre-emphasis over the whole clip, Kaldi's bands to 15 kHz, ln(mel + 1e-5), at 32 kHz.

    Pre-emphasis uses up a sample, so that 10 s give 1,000 frames.
    """

    def __init__(self, bands: int = 128) -> None:
        window = torch.hann_window(800, periodic=False)
        filters = _kaldi_filters(bands, points=1024, sample_rate=32_000, low=0.0, high=15_000.0)
        super().__init__(32_000, window, points=1024, hop=320, filters=filters, centred=True)

    def frames(self, samples: Tensor) -> Tensor:
        """How many frames clips of so many samples have, int64; at least one."""
        return super().frames(samples - 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) in [-1, 1] -> (batch, bands, time)."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            return self.energies(waveform[:, 1:] - 0.97 * waveform[:, :-1], self._logarithm)

    def _logarithm(self, energies: Tensor, out: Tensor | None) -> Tensor:
        return torch.log(energies.add_(1e-5), out=out)


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
        self.sums = BandSums(_kaldi_filters(bands, points=_KALDI_POINTS))
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

    def of_length(self, batch: AudioBatch, frames: int, normalised_zeros: bool = True) -> Tensor:
        """The first `frames` frames of each clip, and zeros where it has fewer. Shape (batch, frames, bands).

        Args:
            batch: Clips at 16 kHz.
            frames: How many.
            normalised_zeros: Whether the zeros are normalised like the logarithms, or stand beside normalised ones.
        """
        zero = -self.mean / self.scale if normalised_zeros else 0.0
        waveform, valid = batch.waveform[:, : self.samples(frames)], self.frames(batch.lengths)
        time = int(self.frames(torch.tensor(waveform.shape[1])))
        fbank = waveform.new_empty(len(batch), frames, self.sums.bands, dtype=torch.float32)
        self._normalised(waveform, fbank[:, :time])
        fbank[:, time:] = zero
        if bool((valid < time).any()):
            fbank.masked_fill_(~frame_mask(valid, frames).unsqueeze(2), zero)
        return fbank

    def _normalised(self, waveform: Tensor, into: Tensor | None = None) -> Tensor:
        """Fbank (batch, time, bands) of (batch, samples), in new memory unless it is given."""
        with torch.autocast(waveform.device.type, enabled=False):
            frames = _at_least(waveform.float(), self.window_samples).unfold(1, self.window_samples, self.hop)
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


def _decibels(energies: Tensor, out: Tensor | None) -> Tensor:
    return torch.mul(energies.clamp_(min=1e-10).log10_(), 10.0, out=out)


def _at_least(waveform: Tensor, samples: int) -> Tensor:
    """Return (batch, samples), zero-padded to `samples` samples if it is shorter."""
    if _is_at_least(waveform, samples):
        return waveform  # padding by nothing would copy
    return F.pad(waveform, (0, max(0, samples - waveform.shape[1])))


def _is_at_least(waveform: Tensor, samples: int) -> bool:
    """Return whether every clip has `samples` samples; in a graph of free length, whether that is known to be so."""
    if not torch.compiler.is_compiling():
        return waveform.shape[1] >= samples
    # A comparison of a free length would fix it, and the padding's maximum confuses torch.export's guards on frames.
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(waveform.shape[1] >= samples)


def mel_filters(bands: int, points: int, sample_rate: int, low: float, high: float, slaney: bool) -> Tensor:
    """Triangles that are linear in Hz, in Slaney's scale with unit area or in HTK's. Shape (points // 2 + 1, bands)."""
    # In double precision: the rounding of single weights is heard in the quiet bands beside a loud tone.
    # Slaney's scale is linear to 1 kHz (15 mel) and logarithmic above.
    knee, step = 15.0, math.log(6.4) / 27.0

    def mel(hertz: float) -> float:
        if not slaney:
            return 2595.0 * math.log10(1.0 + hertz / 700.0)
        return hertz * 3.0 / 200.0 if hertz < 1000.0 else knee + math.log(hertz / 1000.0) / step

    mels = torch.linspace(mel(low), mel(high), bands + 2, dtype=torch.float64, device="cpu")
    if slaney:
        edges = torch.where(mels < knee, mels * 200.0 / 3.0, 1000.0 * torch.exp(step * (mels - knee)))
    else:
        edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hertz = torch.linspace(0, sample_rate / 2, points // 2 + 1, dtype=torch.float64, device="cpu").unsqueeze(1)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((hertz - left) / (centre - left), (right - hertz) / (right - centre)).clamp(min=0)
    return (triangles * 2.0 / (right - left) if slaney else triangles).float()


def _kaldi_filters(
    bands: int, points: int, sample_rate: int = 16_000, low: float = 20.0, high: float = 8_000.0
) -> Tensor:
    """Triangles that are linear in mel, without area normalisation. Shape (points // 2 + 1, bands); Nyquist is zero."""

    def mel(hertz: float) -> float:
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    # Rounded to float32 where Kaldi's code and torchaudio's round: narrow bands feel the last bits of a weight.
    step = (mel(high) - mel(low)) / (bands + 1)
    band = torch.arange(bands, device="cpu")
    left, centre, right = (mel(low) + (band + edge) * step for edge in (0.0, 1.0, 2.0))
    hertz = torch.arange(points // 2, device="cpu") * (sample_rate / points)
    bins = (1127.0 * (1.0 + hertz / 700.0).log()).unsqueeze(1)
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    return F.pad(triangles, (0, 0, 0, 1))


def frame_mask(valid: Tensor, frames: int) -> Tensor:
    """True at the first `valid` (batch,) of `frames` positions. Shape (batch, frames)."""
    return torch.arange(frames, device=valid.device) < valid.unsqueeze(1)
