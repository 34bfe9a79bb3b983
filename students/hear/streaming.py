"""HEAR over sound that has not ended, or that is too long to hold: the same frames, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distill.students.hear.acoustic import AcousticModel
from distill.students.hear.frontend import BANDS, HearFrontEnd

_CHUNK = 30 * 16_000  # samples at a time of a long clip


class Statistics(NamedTuple):
    """What a clip is normalised by, each a scalar.

    Args:
        level: Mean of the samples.
        mean: Of the log-mel spectrogram.
        deviation: Of the log-mel spectrogram.
    """

    level: Tensor
    mean: Tensor
    deviation: Tensor


class _MelStream:
    """Log-mel frames of samples that come in pieces, before normalisation."""

    def __init__(self, front_end: HearFrontEnd, level: Tensor) -> None:
        self.front_end, self.level = front_end, level
        self.hop, self.half = front_end.mel.hop, front_end.mel.points // 2
        self.received = self.frames = 0
        self._held = level.new_zeros(0)  # samples that a frame to come still sees
        self._begins = 0  # place of the first of them; negative for the mirrored beginning

    def feed(self, samples: Tensor) -> Tensor:
        """Frames (128, frames) that are complete with these samples (samples,)."""
        samples = samples - self.level
        self.received += len(samples)
        self._held = torch.cat([self._held, samples])
        if self._begins == 0 and self.frames == 0:
            if len(self._held) <= self.half:  # too short to be mirrored yet
                return samples.new_zeros(BANDS, 0)
            self._held = torch.cat([self._held[1 : self.half + 1].flip(0), self._held])
            self._begins = -self.half
        return self._complete((self._begins + len(self._held) - self.half) // self.hop + 1)

    def finish(self) -> Tensor:
        """The last frames, in which the end is mirrored."""
        missing = self.half + 1 - self.received
        parts = [] if missing <= 0 else [self.feed(self.level.expand(missing))]
        mirrored = self._held[-self.half - 1 : -1].flip(0)
        self._held = torch.cat([self._held, mirrored])
        return torch.cat([*parts, self._complete(self.received // self.hop + 1)], dim=1)

    def _complete(self, until: int) -> Tensor:
        """Frames from the next one to `until`; samples that none after them sees are let go."""
        count = max(0, until - self.frames)
        if count == 0:
            return self._held.new_zeros(BANDS, 0)
        first = self.frames * self.hop - self.half - self._begins
        seen = self._held[first : first + (count - 1) * self.hop + 2 * self.half]
        self.frames += count
        keep = self.frames * self.hop - self.half - self._begins
        self._held, self._begins = self._held[keep:], self._begins + keep
        return self.front_end.log_mel(seen.unsqueeze(0))[0]


class HearStream:
    """Frames of the acoustic model as sound comes in: feed chunks of any length, then finish.

    A frame is given as soon as no sound to come can change it, which is up to one window (6 s) later. All together are
    those of the whole clip, if the statistics are the clip's; a live stream has to take them from sound like it.

    Args:
        front_end: Of the student.
        acoustic: Of the student, in evaluation mode.
        statistics: What to normalise by; `statistics_of` measures them.
    """

    def __init__(self, front_end: HearFrontEnd, acoustic: AcousticModel, statistics: Statistics) -> None:
        self.acoustic, self.statistics, self.front_end = acoustic, statistics, front_end
        self._mel = _MelStream(front_end, statistics.level)
        hidden = acoustic.conv.out_channels
        self._odd = statistics.level.new_zeros(BANDS, 0)  # a mel frame whose partner is still to come
        self._features = statistics.level.new_zeros(1, 0, hidden)  # from the start of the next window on
        self._sums = statistics.level.new_zeros(acoustic.overlap, hidden)  # of the window before, where they overlap
        self._weights = statistics.level.new_zeros(acoustic.overlap, 1)
        self._windows = 0

    @torch.inference_mode()
    def feed(self, samples: Tensor) -> Tensor:
        """Frames (frames, hidden) that are final with these samples (samples,), at 16 kHz."""
        self._take(self._mel.feed(samples))
        return self._whole_windows()

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """The frames that were left (frames, hidden)."""
        self._take(self._mel.finish())
        frames, left = self._whole_windows(), self._features.shape[1]
        if self._windows and left <= self.acoustic.overlap:  # the window before has said it all
            return torch.cat([frames, (self._sums / self._weights.clamp(min=1e-8))[:left]])
        return torch.cat([frames, self._encode(left)])

    def _whole_windows(self) -> Tensor:
        """Frames of the windows that are full; the last window of a clip is not one, so more must have come."""
        window, step = self.acoustic.window, self.acoustic.window - self.acoustic.overlap
        frames = [self._sums.new_zeros(0, self._sums.shape[1])]
        while self._features.shape[1] > window:
            frames.append(self._encode(window)[:step])
            self._features = self._features[:, step:]
        return torch.cat(frames)

    def _take(self, mel: Tensor) -> None:
        mel = torch.cat([self._odd, self.front_end.normalise(mel, self.statistics.mean, self.statistics.deviation)], 1)
        whole = mel.shape[1] // 2 * 2
        self._odd = mel[:, whole:]
        if whole:
            features = self.acoustic.features(mel[:, :whole].unsqueeze(0))
            self._features = torch.cat([self._features, features], dim=1)

    def _encode(self, size: int) -> Tensor:
        """Encode the next window, of `size` tokens, and blend its beginning with the one before. (size, hidden)."""
        overlap = self.acoustic.overlap
        lengths = torch.tensor([size], device=self._features.device)
        encoded = self.acoustic.blocks(self._features[:, :size], lengths)[0]
        taper = self.acoustic.taper[:size].unsqueeze(1)
        sums, weights = encoded * taper, taper.clone()
        shared = min(size, overlap) if self._windows else 0
        sums[:shared] += self._sums[:shared]
        weights[:shared] += self._weights[:shared]
        step = self.acoustic.window - overlap
        self._sums, self._weights = sums[step:].clone(), weights[step:].clone()
        self._windows += 1
        return sums / weights.clamp(min=1e-8)


@torch.inference_mode()
def statistics_of(front_end: HearFrontEnd, waveform: Tensor) -> Statistics:
    """Statistics of a clip (samples,) at 16 kHz, a piece at a time."""
    pieces = waveform.split(_CHUNK)
    level = (torch.stack([piece.double().sum() for piece in pieces]).sum() / max(1, len(waveform))).to(waveform.dtype)
    stream = _MelStream(front_end, level)
    sums = waveform.new_zeros(2, dtype=torch.float64)
    for number, piece in enumerate(pieces):
        mels = [stream.feed(piece)] + ([stream.finish()] if number == len(pieces) - 1 else [])
        for mel in mels:
            sums += torch.stack([mel.double().sum(), mel.double().square().sum()])
    count = stream.frames * BANDS
    mean = sums[0] / count
    deviation = (sums[1] / count - mean.square()).clamp(min=0).sqrt()
    return Statistics(level, mean.to(waveform.dtype), deviation.to(waveform.dtype))


def encode_long(front_end: HearFrontEnd, acoustic: AcousticModel, waveform: Tensor) -> Tensor:
    """Frames (frames, hidden) of one long clip (samples,): two passes, and only a window of it at a time."""
    stream = HearStream(front_end, acoustic, statistics_of(front_end, waveform))
    return torch.cat([*(stream.feed(piece) for piece in waveform.split(_CHUNK)), stream.finish()])
