"""Mel statistics, the baseline of every student: a teacher without weights."""

from __future__ import annotations

import torch

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

_HOP_SECONDS = 0.016  # half a window
_MIN_HOP = 128  # samples; shorter windows of low rates have fewer frequencies than bands


class Mel(Teacher):
    """Mean and standard deviation over time of a log-mel spectrogram: the baseline of every student.

    A student that is not better than these statistics learned little. The clip embedding has the means of all bands,
    then their standard deviations (2 x bands). Frame embeddings are the frames of the spectrogram. A window has 32 ms,
    and at least 256 samples; windows overlap by half. The mel scale is Slaney's.

    Args:
        sample_rate: Rate of the audio, in Hz, such as 256000 for bats or 1000 for hydrophones.
        low_hz: Lower edge of the first band, in Hz.
        high_hz: Upper edge of the last band, in Hz. None means half of `sample_rate`.
        bands: Number of mel bands.
        windows: How longer clips are cut. The default does not cut clips of up to 2 minutes.

    Raises:
        UserError: the rate or the number of bands is below 1, or the edges are not in the range of the rate.
    """

    sample_rate = 32_000
    published = Published(0, 256, 128, _HOP_SECONDS)
    weights = None
    licence = "none: computed"
    source = "built in"

    def __init__(
        self,
        sample_rate: int = 32_000,
        low_hz: float = 50.0,
        high_hz: float | None = None,
        bands: int = 128,
        windows: Windows = Windows(seconds=0),
    ) -> None:
        super().__init__(windows)
        for option, value in (("sample_rate", sample_rate), ("bands", bands)):
            if value < 1:
                raise UserError(f"--teacher.{option} {value}: must be at least 1")
        high = sample_rate / 2 if high_hz is None else high_hz
        if not 0 <= low_hz < high <= sample_rate / 2:
            raise UserError(
                f"--teacher.low_hz {low_hz:g} and high_hz {high:g}: must be in ascending order, from 0 to "
                f"{sample_rate / 2:g}, half of --teacher.sample_rate"
            )
        self.sample_rate = sample_rate
        hop = max(_MIN_HOP, round(_HOP_SECONDS * sample_rate))
        self.mel = LogMel(sample_rate, window=2 * hop, hop=hop, bands=bands, low=low_hz, high=high, offset=1e-6)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at `self.sample_rate`. Only valid frames count."""
        frames = self.mel(batch.waveform).transpose(1, 2)  # (batch, time, bands)
        inside = frame_mask(self.mel.frames(batch.lengths), frames.shape[1])
        mean = masked_mean(frames, inside)
        deviation = masked_mean((frames - mean.unsqueeze(1)).square(), inside).sqrt()
        times = (torch.arange(frames.shape[1], device=frames.device) + 1) * (self.mel.hop / self.sample_rate)
        clip = torch.cat([mean, deviation], dim=1)
        return Embeddings.of_frames(frames.to(self.dtype), times, inside, clip=clip.to(self.dtype))
