"""A teacher without weights: what signal processing alone can tell of a sound."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask, masked_mean
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.teachers.published import Published
from distill.teachers.teacher import Teacher

_MODULATION_HZ = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 50.0)
_POINTS = 1024  # mel frames that a transform of the modulation is a multiple of
_BLOCK = 10  # mel frames to an embedding frame: 0.1 s


class Spectral(Teacher):
    """Spectral shape, its spread and flux, modulation of the envelope, and harmonicity, from a log-mel spectrogram.

    The default where no checkpoint can be had: it works offline on any sound, and is not a substitute for a trained
    teacher. It does not change with the level of a recording. Each of the five groups of features has unit length
    within the clip embedding, so that none drowns another. Frames are the level-free spectral shape of 0.1 s.

    Args:
        windows: How longer clips are cut; by default not at all.
    """

    sample_rate = 16_000
    published = Published(0, 280, 64, 0.1)
    licence = "MIT (no weights)"
    source = "built in"

    def __init__(self, windows: Windows = Windows(seconds=0)) -> None:
        super().__init__(windows)
        self.mel = LogMel(self.sample_rate, window=400, hop=160, bands=64, low=50.0, high=8_000.0, offset=1e-6)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 16 kHz."""
        valid = self.mel.frames(batch.lengths)
        mel = self.mel(batch.waveform).transpose(1, 2)  # (batch, time, bands)
        inside = frame_mask(valid, mel.shape[1]).unsqueeze(2).to(mel.dtype)
        count = valid.to(mel.dtype).view(-1, 1, 1)
        level = (mel * inside).sum((1, 2), keepdim=True) / (count * mel.shape[2])
        shape = (mel - level) * inside  # zero outside the clip
        clip = torch.cat([F.normalize(group, dim=1) for group in self._groups(shape, inside, count)], dim=1)
        return Embeddings.of_frames(*_blocks(shape, valid), clip=clip)

    def _groups(self, shape: Tensor, inside: Tensor, count: Tensor) -> list[Tensor]:
        """Five descriptions of (batch, time, bands), each (batch, features) and about the same for all mean spectra."""
        mean = shape.sum(1) / count.squeeze(1)
        deviation = (((shape - mean.unsqueeze(1)) * inside).square().sum(1) / count.squeeze(1)).clamp(min=1e-8).sqrt()
        both = inside[:, 1:] * inside[:, :-1]
        flux = masked_mean((shape[:, 1:] - shape[:, :-1]).abs(), both.squeeze(2))
        modulation = _modulation((shape - mean.unsqueeze(1)) * inside, count)
        # Cepstral lines of the mean spectrum: regular ripples are harmonics.
        ripple = torch.fft.rfft(mean - mean.mean(1, keepdim=True)).abs()[:, 1:]
        return [mean - mean.mean(1, keepdim=True), _contrast(deviation), _contrast(flux), modulation, _contrast(ripple)]


def _contrast(values: Tensor) -> Tensor:
    """Logarithm of positive (batch, features), without its mean: what differs, not how much there is."""
    logarithm = (values + 1e-3).log()
    return logarithm - logarithm.mean(1, keepdim=True)


def _modulation(envelope: Tensor, count: Tensor) -> Tensor:
    """Energy of 8 groups of bands in octaves of modulation frequency. Shape (batch, 8 * 7).

    A transform whose length is that of the clip, and not of the batch, keeps a padded clip equal to the clip alone.
    """
    grouped = envelope.unflatten(2, (8, -1)).mean(3)
    blocks = (count.flatten().long() + _POINTS - 1) // _POINTS
    octaves = grouped.new_empty(len(grouped), 8 * (len(_MODULATION_HZ) - 1))
    for number in blocks.unique().tolist():
        rows = blocks == number
        octaves[rows] = _octaves(grouped[rows], count[rows], number * _POINTS)
    return _contrast(octaves)


def _octaves(grouped: Tensor, count: Tensor, points: int) -> Tensor:
    """Energy of (batch, time, groups) in octaves of modulation frequency, by a transform of so many points."""
    grouped = grouped[:, :points]
    hertz = torch.fft.rfftfreq(points, d=0.010, device=grouped.device)
    power = torch.fft.rfft(grouped, n=points, dim=1).abs().square() / count / 100.0
    octaves = [
        (power * ((hertz >= low) & (hertz < high)).view(1, -1, 1)).sum(1) / ((hertz >= low) & (hertz < high)).sum()
        for low, high in pairwise(_MODULATION_HZ)
    ]
    return torch.stack(octaves, dim=2).flatten(1)


def _blocks(shape: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means over blocks of 0.1 s: frames (batch, time, bands), their times (time,) and mask (batch, time)."""
    whole = -(-shape.shape[1] // _BLOCK)
    padded = F.pad(shape, (0, 0, 0, whole * _BLOCK - shape.shape[1]))
    frames = padded.unflatten(1, (whole, _BLOCK)).mean(2)
    times = 0.0125 + (torch.arange(whole, device=shape.device) * _BLOCK + (_BLOCK - 1) / 2) * 0.010
    return frames, times, frame_mask((valid // _BLOCK).clamp(min=1), whole)
