"""HEAR over live or very long audio: the same frames as for the whole clip, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.encoders.recordings import Pieces
from distill.students.hear.acoustic import LEAST_WEIGHT, AcousticModel
from distill.students.hear.frontend import BANDS, HearFrontEnd

_CHUNK = 30 * 16_000  # samples of a long clip that are read at once


class ClipStatistics(NamedTuple):
    """Statistics by which a clip is standardised. Each is a scalar tensor.

    Args:
        level: Mean of the samples.
        mean: Mean of the log-mel spectrogram.
        deviation: Standard deviation of the log-mel spectrogram.
    """

    level: Tensor
    mean: Tensor
    deviation: Tensor


class _MelStream:
    """Log-mel frames of audio that comes in pieces, before standardisation.

    Args:
        front_end: Front-end of the student.
        level: Mean of the samples, which is subtracted; a scalar.
    """

    def __init__(self, front_end: HearFrontEnd, level: Tensor) -> None:
        self.front_end, self.level = front_end, level
        self.hop, self.half = front_end.mel.hop, front_end.mel.points // 2
        self.received = self.frames = 0
        self._buffer = level.new_zeros(0)  # samples that later frames need
        self._buffer_start = 0  # index of the first of them in the clip; negative in the mirrored part before it

    def feed(self, samples: Tensor) -> Tensor:
        """Add samples (samples,), and return the frames that are complete now (128, frames)."""
        samples = samples - self.level
        self.received += len(samples)
        self._buffer = torch.cat([self._buffer, samples])
        if self._buffer_start == 0 and self.frames == 0:
            if len(self._buffer) <= self.half:  # too short for the mirrored part
                return samples.new_zeros(BANDS, 0)
            self._buffer = torch.cat([self._buffer[1 : self.half + 1].flip(0), self._buffer])
            self._buffer_start = -self.half
        return self._complete((self._buffer_start + len(self._buffer) - self.half) // self.hop + 1)

    def finish(self) -> Tensor:
        """Return the last frames (128, frames). The end of the clip is mirrored in them."""
        missing = self.half + 1 - self.received
        parts = [] if missing <= 0 else [self.feed(self.level.expand(missing))]
        mirrored = self._buffer[-self.half - 1 : -1].flip(0)
        self._buffer = torch.cat([self._buffer, mirrored])
        return torch.cat([*parts, self._complete(self.received // self.hop + 1)], dim=1)

    def _complete(self, until: int) -> Tensor:
        """Return the frames from the next one to `until`, and drop the samples that no later frame needs."""
        count = max(0, until - self.frames)
        if count == 0:
            return self._buffer.new_zeros(BANDS, 0)
        first = self.frames * self.hop - self.half - self._buffer_start
        needed = self._buffer[first : first + (count - 1) * self.hop + 2 * self.half]
        self.frames += count
        keep = self.frames * self.hop - self.half - self._buffer_start
        self._buffer, self._buffer_start = self._buffer[keep:], self._buffer_start + keep
        return self.front_end.log_mel(needed.unsqueeze(0))[0]


class HearStream:
    """Frames of the acoustic model for audio that comes in pieces: `feed` pieces of any length, then `finish`.

    A frame is returned as soon as later audio cannot change it. The delay is at most one window (6 s). With the
    statistics of the clip, all frames together equal those of the whole clip. The statistics of a live stream are not
    known; take them from similar audio.

    Args:
        front_end: Front-end of the student.
        acoustic: Acoustic model of the student, in evaluation mode.
        statistics: Statistics to standardise by; `measure_statistics` computes them.
    """

    def __init__(self, front_end: HearFrontEnd, acoustic: AcousticModel, statistics: ClipStatistics) -> None:
        self.acoustic, self.statistics, self.front_end = acoustic, statistics, front_end
        self._mel = _MelStream(front_end, statistics.level)
        hidden = acoustic.conv.out_channels
        self._odd = statistics.level.new_zeros(BANDS, 0)  # a mel frame whose pair is not complete
        weight = acoustic.conv.weight
        self._features = weight.new_zeros(1, 0, hidden)  # from the start of the next window
        self._sums = weight.new_zeros(acoustic.overlap, hidden)  # of the window before, in the overlap
        self._weights = weight.new_zeros(acoustic.overlap, 1)
        self._windows = 0

    @torch.inference_mode()
    def feed(self, samples: Tensor) -> Tensor:
        """Add samples (samples,) at 16 kHz, and return the frames that are final now (frames, hidden)."""
        self._append(self._mel.feed(samples))
        return self._encode_full_windows()

    @torch.inference_mode()
    def finish(self) -> Tensor:
        """Return the remaining frames (frames, hidden)."""
        self._append(self._mel.finish())
        frames, remaining = self._encode_full_windows(), self._features.shape[1]
        if self._windows and remaining <= self.acoustic.overlap:  # the window before has all of them
            return torch.cat([frames, (self._sums / self._weights.clamp(min=LEAST_WEIGHT))[:remaining]])
        return torch.cat([frames, self._encode(remaining)])

    def _encode_full_windows(self) -> Tensor:
        """Encode the windows that are full. A later token must exist, since the last window of a clip is different."""
        window, step = self.acoustic.window, self.acoustic.window - self.acoustic.overlap
        frames = [self._sums.new_zeros(0, self._sums.shape[1])]
        while self._features.shape[1] > window:
            frames.append(self._encode(window)[:step])
            self._features = self._features[:, step:]
        return torch.cat(frames)

    def _append(self, mel: Tensor) -> None:
        """Standardise mel frames (128, frames), and append the features of whole pairs."""
        standardised = self.front_end.standardise(mel, self.statistics.mean, self.statistics.deviation)
        mel = torch.cat([self._odd, standardised], dim=1)
        whole = mel.shape[1] // 2 * 2
        self._odd = mel[:, whole:]
        if whole:
            features = self.acoustic.features(mel[:, :whole].unsqueeze(0))
            self._features = torch.cat([self._features, features], dim=1)

    def _encode(self, size: int) -> Tensor:
        """Encode the next `size` tokens, and average their start with the window before. Shape (size, hidden)."""
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
        return sums / weights.clamp(min=LEAST_WEIGHT)


def measure_statistics(front_end: HearFrontEnd, waveform: Tensor) -> ClipStatistics:
    """Measure the statistics of a clip (samples,) at 16 kHz, in bounded memory."""
    return measure_pieces(front_end, lambda: iter(waveform.split(_CHUNK)))


@torch.inference_mode()
def measure_pieces(front_end: HearFrontEnd, pieces: Pieces) -> ClipStatistics:
    """Measure the statistics of a clip at 16 kHz that comes in pieces, in two passes."""
    total, samples = torch.zeros((), dtype=torch.float64), 0
    for piece in pieces():
        total, samples = total.to(piece.device) + piece.double().sum(), samples + len(piece)
    level = (total / max(1, samples)).float()
    stream = _MelStream(front_end, level)
    sums = level.new_zeros(2, dtype=torch.float64)
    for mel in _fed(stream, pieces):
        sums += torch.stack([mel.double().sum(), mel.double().square().sum()])
    count = stream.frames * BANDS
    mean = sums[0] / count
    deviation = (sums[1] / count - mean.square()).clamp(min=0).sqrt()
    return ClipStatistics(level, mean.float(), deviation.float())


def encode_long(front_end: HearFrontEnd, acoustic: AcousticModel, waveform: Tensor) -> Tensor:
    """Encode a long clip (samples,) at 16 kHz one window at a time. Return (frames, hidden)."""
    return torch.cat(list(frames_of_pieces(front_end, acoustic, lambda: iter(waveform.split(_CHUNK)))))


def frames_of_pieces(front_end: HearFrontEnd, acoustic: AcousticModel, pieces: Pieces) -> Iterator[Tensor]:
    """Return parts of the frames (frames, hidden) of a clip at 16 kHz that comes in pieces, read in three passes."""
    return _fed(HearStream(front_end, acoustic, measure_pieces(front_end, pieces)), pieces)


def _fed(stream: _MelStream | HearStream, pieces: Pieces) -> Iterator[Tensor]:
    """Feed all pieces of a clip to a stream, and yield what it returns."""
    yield from (stream.feed(piece) for piece in pieces())
    yield stream.finish()
