"""HEAR's front-end: log-mel and log-power spectrograms, each clip standardised separately."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.filters import mel_filters
from distill.data.audio.frames import frame_mask, remove_mean
from distill.data.audio.mel import MelEnergies, PowerSpectrum
from distill.data.audio.resample import Resampler

MEL_RATE = 16_000
BANDS = 128
_POINTS, _WINDOW, _HOP = 1024, 400, 160
_OFFSET = 1e-6
_ZEROS, _ROLLOFF = 6, 0.99  # of torchaudio's sinc filter: zero crossings at a side, and its share of the band
_LEAST_DEVIATION = 1e-3  # of a log-spectrogram: real audio has above 1, and silence has rounding errors only


class Spectra(NamedTuple):
    """Standardised spectrograms of a batch.

    Args:
        mel: Log-mel spectrograms. Shape (batch, 128, frames).
        power: Log-power spectrograms. Shape (batch, frequencies, frames), or (batch, 0, 0) if not requested.
        frames: Number of valid frames of each clip, int64. Shape (batch,).
    """

    mel: Tensor
    power: Tensor
    frames: Tensor


class HearFrontEnd(nn.Module):
    """HEAR's front-end: windows of 25 ms every 10 ms, log(power + 1e-6), and mean 0 and deviation 1 for each clip.

    The mean level, the mean and the deviation are those of the clip without its padding. Each clip is mirrored at its
    own end. A clip in a padded batch therefore has the same spectra as the clip alone. The official code computes all
    three over the padded row (its defect 6 in our notes).

    Args:
        rate: Sample rate of the audio and of the power spectrogram, in Hz. Mel is always computed at 16 kHz.
        points: Size of the Fourier transform of the power spectrogram, in samples; 2048 at 44.1 kHz.
        official: Whether to compute as the published code does.
    """

    def __init__(self, rate: int = MEL_RATE, points: int = _POINTS, official: bool = False) -> None:
        super().__init__()
        self.rate, self.official = rate, official
        window = torch.hann_window(_WINDOW)
        filters = mel_filters(BANDS, _POINTS, MEL_RATE, 0.0, MEL_RATE / 2, slaney=False)
        self.mel = MelEnergies(MEL_RATE, window, _POINTS, _HOP, filters)
        self.wide: PowerSpectrum | None = None
        self.to_mel_rate: nn.Module = nn.Identity()
        if rate != MEL_RATE:
            self.to_mel_rate = Resampler(rate, MEL_RATE)
            wide_window = torch.hann_window(int(0.025 * rate))
            self.wide = PowerSpectrum(rate, wide_window, points, int(0.010 * rate))
        self.frequencies = points // 2 + 1

    def official_state(self) -> dict[str, Tensor]:
        """Return the buffers of the published front-end by their keys, which its code requires in a file."""
        state = {
            "spectrogram.window": torch.hann_window(int(0.025 * self.rate)),
            "mel_spectrogram.spectrogram.window": torch.hann_window(_WINDOW),
            "mel_spectrogram.mel_scale.fb": mel_filters(BANDS, _POINTS, MEL_RATE, 0.0, MEL_RATE / 2, slaney=False),
        }
        if self.rate != MEL_RATE:
            state["resampler.kernel"] = _resampling_kernel(self.to_mel_rate, self.rate)
        return state

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of valid frames of clips of these lengths, int64.

        A shorter clip counts as half a transform and one sample, unless `official` is set.

        Args:
            lengths: Valid samples of each clip at `rate`, int64. Shape (batch,).
        """
        lengths = self._at_mel_rate(lengths)
        if not self.official:
            lengths = lengths.clamp(min=_POINTS // 2 + 1)
        return lengths // _HOP + 1

    def forward(self, waveform: Tensor, lengths: Tensor, power: bool = False) -> Spectra:
        """Compute the spectra of a batch.

        Args:
            waveform: Samples at `rate`. Shape (batch, samples).
            lengths: Valid samples of each clip, int64. Shape (batch,).
            power: Whether to return the power spectrogram too.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = self._remove_mean(waveform.float(), lengths)
            spectrum = self._power_spectrogram(self.mel, self.to_mel_rate(waveform), self._at_mel_rate(lengths))
            frames = self.frames(lengths)
            mel = self._standardised_logarithm(self.mel.of_power(spectrum), frames)
            if not power:
                return Spectra(mel, mel.new_zeros(mel.shape[0], 0, 0), frames)
            if self.wide is not None:
                spectrum = self._power_spectrogram(self.wide, waveform, lengths)
            # At other rates the two can differ by one frame.
            spectrum = F.pad(spectrum, (0, mel.shape[2] - spectrum.shape[2]))
            return Spectra(mel, self._standardised_logarithm(spectrum, frames), frames)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Compute log-mel spectrograms without padding at the ends, and without standardising.

        Args:
            waveform: Samples at 16 kHz. Shape (batch, samples).

        Returns:
            One frame for each whole transform. Shape (batch, 128, frames).
        """
        return (self.mel.energies(waveform.float()) + _OFFSET).log()

    def standardise(self, logarithm: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Standardise a log-spectrogram of any shape, by its mean and standard deviation."""
        return (logarithm - mean) / (deviation.clamp(min=_LEAST_DEVIATION) + _OFFSET)

    def _at_mel_rate(self, lengths: Tensor) -> Tensor:
        return (lengths * MEL_RATE + self.rate - 1) // self.rate  # an exported graph rounds division towards 0

    def _remove_mean(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Subtract the mean level of each clip, and set the samples after its end to zero."""
        if self.official:
            return waveform - waveform.mean(1, keepdim=True)
        return remove_mean(waveform, lengths)

    def _power_spectrogram(self, stft: PowerSpectrum, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Return the power spectrogram (batch, frequencies, frames) of clips that are mirrored at both ends."""
        half = stft.points // 2
        # The clips of an exported graph are not padded, and OpenVINO fails to gather a free number of samples.
        if self.official or torch.compiler.is_exporting():
            return stft.power(F.pad(waveform, (half, half), mode="reflect"))
        missing = max(0, half + 1 - waveform.shape[1])
        waveform = F.pad(waveform, (0, missing))
        ends = lengths.clamp(min=half + 1).unsqueeze(1) - 1
        position = torch.arange(-half, waveform.shape[1] + half, device=waveform.device).abs().unsqueeze(0)
        mirrored = torch.where(position > ends, 2 * ends - position, position)
        in_mirror = mirrored >= ends - half  # a clip is silent after its mirror image
        valid = (position <= ends) | (in_mirror & (mirrored >= 0))
        return stft.power(waveform.gather(1, mirrored.clamp(min=0)) * valid)

    def _standardised_logarithm(self, energies: Tensor, frames: Tensor) -> Tensor:
        """Return the logarithm of energies (batch, rows, frames), with mean 0 and deviation 1 for each clip."""
        logarithm = (energies + _OFFSET).log()
        if self.official:
            deviation, mean = torch.std_mean(logarithm, dim=(1, 2), correction=0, keepdim=True)
            return (logarithm - mean) / (deviation + _OFFSET)
        valid = frame_mask(frames, logarithm.shape[2]).unsqueeze(1)
        count = (frames * logarithm.shape[1]).view(-1, 1, 1)
        mean = (logarithm * valid).sum((1, 2), keepdim=True) / count
        centred = (logarithm - mean) * valid
        deviation = (centred.square().sum((1, 2), keepdim=True) / count).sqrt()
        return self.standardise(centred, centred.new_zeros(()), deviation)


def _resampling_kernel(resampler: nn.Module, rate: int) -> Tensor:
    """Return the filter of a resampler to `MEL_RATE` as torchaudio keeps it: (outputs of a period, 1, inputs).

    Each of its columns is the response to one impulse.
    """
    divisor = math.gcd(rate, MEL_RATE)
    period, outputs = rate // divisor, MEL_RATE // divisor
    before = math.ceil(_ZEROS * rate / (_ROLLOFF * min(rate, MEL_RATE)))
    width = period + 2 * before
    impulses = F.pad(torch.eye(width), (period - before % period, 2 * period))
    skipped = outputs * ((before + period - before % period) // period)
    with torch.no_grad():
        responses = resampler(impulses)
    return responses[:, skipped : skipped + outputs].T.unsqueeze(1).contiguous()
