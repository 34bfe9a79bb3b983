"""Frames of any student at even times that cover a whole clip, which kits for frames expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.students.student import Student

WINDOW, WINDOW_HOP = 1.0, 0.05  # seconds, for a student of whole clips
_WINDOWS_AT_ONCE = 64


class Timeline(nn.Module):
    """A student whose frames come at even times, from the beginning of a clip to its end.

    Each time gets the nearest frame of the student. The windows of a front-end often end before the clip does, so the
    last frame can be repeated. A student of whole clips encodes windows of 1 s, centred on every 50 ms.

    Args:
        student: The student, in any mode.
        sample_rate: Rate of the waveform that it gets, in Hz. The student resamples.
    """

    def __init__(self, student: Student, sample_rate: int) -> None:
        super().__init__()
        self.student, self.rate = student, sample_rate
        hop = student.frame_hop or WINDOW_HOP
        samples = round(hop * student.sample_rate)
        # The times of frames are float32. A hop of whole samples is exact, so that long clips have no drift.
        self.hop = samples / student.sample_rate if abs(hop * student.sample_rate - samples) < 0.01 else hop

    def forward(self, waveform: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode clips.

        Args:
            waveform: Samples in [-1, 1]. Shape (batch, samples).
            lengths: Valid samples of each clip. Shape (batch,). None means all samples.

        Returns:
            Frames (batch, time, frame_dim), and their times in seconds (time,). After the end of a shorter clip, its
            last valid frame is repeated.
        """
        batch = AudioBatch.of(waveform, self.rate, lengths).to(self.student.device)
        if not self.student.frame_hop:
            times = self._times(0.0, batch)
            valid = times <= (batch.lengths / batch.sample_rate).unsqueeze(1)
            numbers = torch.arange(len(times), device=times.device)
            return _rows(self._windows(batch, times), torch.minimum(numbers, _last(valid))), times
        found = self.student(batch)
        times = self._times(float(found.frame_times[0]), batch)
        middles = (found.frame_times[1:] + found.frame_times[:-1]) / 2
        nearest = torch.bucketize(times, middles)
        return _rows(found.frames, torch.minimum(nearest, _last(found.frame_mask))), times

    def _times(self, first: float, batch: AudioBatch) -> Tensor:
        """Return the even times that fit into a batch, one of which is `first`."""
        first %= self.hop
        seconds = batch.waveform.shape[1] / batch.sample_rate
        count = max(1, int((seconds - first) / self.hop + 1e-6) + 1)
        times = first + torch.arange(count, dtype=torch.float64) * self.hop
        return times.float().to(batch.waveform.device)

    def _windows(self, batch: AudioBatch, times: Tensor) -> Tensor:
        """Return the clip embeddings (batch, time, clip_dim) of windows that are centred on `times`."""
        half = round(WINDOW / 2 * self.rate)
        padded = F.pad(batch.waveform, (half, half))
        starts = [round(time * self.rate) for time in times.tolist()]
        windows = torch.stack([padded[:, start : start + 2 * half] for start in starts], dim=1)
        found = [
            self.student(AudioBatch.of(part, self.rate)).clip for part in windows.flatten(0, 1).split(_WINDOWS_AT_ONCE)
        ]
        return torch.cat(found).unflatten(0, windows.shape[:2])


def _last(valid: Tensor) -> Tensor:
    """Return the number of the last valid frame of each clip. Shape (batch, 1), from a mask (batch, time)."""
    return (torch.arange(valid.shape[1], device=valid.device) * valid).amax(1, keepdim=True)


def _rows(frames: Tensor, numbers: Tensor) -> Tensor:
    """Return the frames (batch, time, dim) with the given numbers (batch, time), in this order."""
    return frames.gather(1, numbers.unsqueeze(2).expand(-1, -1, frames.shape[2]))
