"""HEAR's inputs: log-mel and log-power spectrogram, each clip normalised on its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask, remove_mean
from distill.data.audio.mel import MelEnergies, PowerSpectrum
from distill.data.audio.resample import resample

MEL_RATE = 16_000
BANDS = 128
_POINTS, _WINDOW, _HOP = 1024, 400, 160
_OFFSET = 1e-6
_LEAST_DEVIATION = 1e-3  # of a log-spectrogram; real audio has above 1, and silence only rounding


class Spectra(NamedTuple):
    """Normalised spectrograms of a batch.

    Args:
        mel: Shape (batch, 128, frames).
        power: Shape (batch, frequencies, frames); empty where it was not asked for.
        frames: Valid frames of each clip, int64. Shape (batch,).
    """

    mel: Tensor
    power: Tensor
    frames: Tensor


class HearFrontEnd(nn.Module):
    """Windows of 25 ms every 10 ms, log(power + 1e-6), minus the clip's mean, over the clip's deviation.

    Mean level, mean and deviation are those of the clip and not of its padding, and a clip ends mirrored wherever it
    ends in its row, so that a padded batch gives what each clip alone gives. The official code takes all three over
    the padded row (its defect 6 in our notes).

    Args:
        rate: Sample rate of the audio and of the power spectrogram, in Hz; mel is always that of 16 kHz.
        points: Samples of the transform of the power spectrogram; 2048 at 44.1 kHz.
        official: Compute as the published code does.
    """

    def __init__(self, rate: int = MEL_RATE, points: int = _POINTS, official: bool = False) -> None:
        super().__init__()
        self.rate, self.official = rate, official
        window = torch.hann_window(_WINDOW)
        filters = mel_filters(BANDS, _POINTS, MEL_RATE, 0.0, MEL_RATE / 2, slaney=False)
        self.mel = MelEnergies(MEL_RATE, window, _POINTS, _HOP, filters)
        self.wide: PowerSpectrum | None = None
        if rate != MEL_RATE:
            wide_window = torch.hann_window(int(0.025 * rate))
            self.wide = PowerSpectrum(rate, wide_window, points, int(0.010 * rate))
        self.frequencies = points // 2 + 1

    def frames(self, lengths: Tensor) -> Tensor:
        """Valid frames of clips of so many samples, int64; a clip is at least as long as half a transform."""
        lengths = self._at_mel_rate(lengths)
        if not self.official:
            lengths = lengths.clamp(min=_POINTS // 2 + 1)
        return lengths // _HOP + 1

    def forward(self, waveform: Tensor, lengths: Tensor, power: bool = False) -> Spectra:
        """(batch, samples) at `rate` -> spectra; those of power only where they are asked for."""
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = self._centred(waveform.float(), lengths)
            narrow = resample(waveform, self.rate, MEL_RATE)
            spectrum = self._power(self.mel, narrow, self._at_mel_rate(lengths))
            frames = self.frames(lengths)
            mel = self._normalised(self.mel.of_power(spectrum), frames)
            if not power:
                return Spectra(mel, mel.new_zeros(len(mel), 0, 0), frames)
            if self.wide is not None:
                spectrum = self._power(self.wide, waveform, lengths)
            # At other rates the two may differ by a frame.
            spectrum = F.pad(spectrum, (0, mel.shape[2] - spectrum.shape[2]))
            return Spectra(mel, self._normalised(spectrum, frames), frames)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel (batch, 128, frames) of samples at 16 kHz, whole transforms only and not normalised."""
        return (self.mel.energies(waveform.float()) + _OFFSET).log()

    def normalise(self, logarithm: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """With mean 0 and deviation 1, given those that it has."""
        return (logarithm - mean) / (deviation.clamp(min=_LEAST_DEVIATION) + _OFFSET)

    def _at_mel_rate(self, lengths: Tensor) -> Tensor:
        return (lengths * MEL_RATE + self.rate - 1) // self.rate  # a graph's division rounds towards 0

    def _centred(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Without its mean level, and zero after the end of each clip."""
        if self.official:
            return waveform - waveform.mean(1, keepdim=True)
        return remove_mean(waveform, lengths)

    def _power(self, stft: PowerSpectrum, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Power spectrogram (batch, frequencies, frames) of clips that are mirrored at their ends."""
        half = stft.points // 2
        if self.official:
            return stft.power(F.pad(waveform, (half, half), mode="reflect"))
        shortest = max(0, half + 1 - waveform.shape[1])
        waveform = F.pad(waveform, (0, shortest))
        ends = lengths.clamp(min=half + 1).unsqueeze(1) - 1
        place = torch.arange(-half, waveform.shape[1] + half, device=waveform.device).abs().unsqueeze(0)
        mirrored = torch.where(place > ends, 2 * ends - place, place)
        inside = mirrored >= ends - half  # beyond its mirror image a clip is silent
        inside = (place <= ends) | (inside & (mirrored >= 0))
        return stft.power(waveform.gather(1, mirrored.clamp(min=0)) * inside)

    def _normalised(self, energies: Tensor, frames: Tensor) -> Tensor:
        """Logarithm of (batch, rows, frames), with mean 0 and deviation 1 over each clip."""
        logarithm = (energies + _OFFSET).log()
        if self.official:
            deviation, mean = torch.std_mean(logarithm, dim=(1, 2), correction=0, keepdim=True)
            return (logarithm - mean) / (deviation + _OFFSET)
        inside = frame_mask(frames, logarithm.shape[2]).unsqueeze(1)
        count = (frames * logarithm.shape[1]).view(-1, 1, 1)
        mean = (logarithm * inside).sum((1, 2), keepdim=True) / count
        centred = (logarithm - mean) * inside
        deviation = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
        return self.normalise(centred, centred.new_zeros(()), deviation)
