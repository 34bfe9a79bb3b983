"""A teacher without weights, from signal processing only."""

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
_POINTS = 1024  # transforms of the modulation have a multiple of this number of mel frames
_BLOCK = 10  # mel frames in an embedding frame of 0.1 s


class Spectral(Teacher):
    """Spectral shape, its spread and flux, modulation of the envelope, and harmonicity, from a log-mel spectrogram.

    For tests, since it is fast and needs no weights. It does not replace a trained teacher such as `musicnn`. It does
    not change with the level of a recording. Each of the five groups of features has unit length within the clip
    embedding, so that no group dominates. A frame embedding is the spectral shape of 0.1 s without the clip's level.

    Args:
        windows: How longer clips are cut. The default does not cut clips of up to 2 minutes.
    """

    sample_rate = 16_000
    published = Published(0, 280, 64, 0.1)
    weights = None
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
        frames, times, mask = _blocks(shape, valid)
        return Embeddings.of_frames(frames.to(self.dtype), times, mask, clip=clip.to(self.dtype))

    def _groups(self, shape: Tensor, inside: Tensor, count: Tensor) -> list[Tensor]:
        """Return five groups of features of spectral shapes (batch, time, bands), each (batch, features)."""
        mean = shape.sum(1) / count.squeeze(1)
        deviation = (((shape - mean.unsqueeze(1)) * inside).square().sum(1) / count.squeeze(1)).clamp(min=1e-8).sqrt()
        both = inside[:, 1:] * inside[:, :-1]
        flux = masked_mean((shape[:, 1:] - shape[:, :-1]).abs(), both.squeeze(2))
        modulation = _modulation((shape - mean.unsqueeze(1)) * inside, count)
        # The cepstrum of the mean spectrum: harmonics are regular ripples.
        ripple = torch.fft.rfft(mean - mean.mean(1, keepdim=True)).abs()[:, 1:]
        return [mean - mean.mean(1, keepdim=True), _contrast(deviation), _contrast(flux), modulation, _contrast(ripple)]


def _contrast(values: Tensor) -> Tensor:
    """Return the logarithm of positive (batch, features) minus its mean over features, which removes the level."""
    logarithm = (values + 1e-3).log()
    return logarithm - logarithm.mean(1, keepdim=True)


def _modulation(envelope: Tensor, count: Tensor) -> Tensor:
    """Return the energy of 8 groups of bands in octaves of modulation frequency. Shape (batch, 8 * 7).

    The length of a transform depends on the clip and not on the batch, so that padding changes nothing.
    """
    grouped = envelope.unflatten(2, (8, -1)).mean(3)
    blocks = (count.flatten().long() + _POINTS - 1) // _POINTS
    octaves = grouped.new_empty(len(grouped), 8 * (len(_MODULATION_HZ) - 1))
    for number in blocks.unique().tolist():
        rows = blocks == number
        octaves[rows] = _octaves(grouped[rows], count[rows], number * _POINTS)
    return _contrast(octaves)


def _octaves(grouped: Tensor, count: Tensor, points: int) -> Tensor:
    """Return the energy of (batch, time, groups) in octaves of modulation frequency, by a transform of `points`."""
    grouped = grouped[:, :points]
    hertz = torch.fft.rfftfreq(points, d=0.010, device=grouped.device)
    power = torch.fft.rfft(grouped, n=points, dim=1).abs().square() / count / 100.0
    octaves = [
        (power * ((hertz >= low) & (hertz < high)).view(1, -1, 1)).sum(1) / ((hertz >= low) & (hertz < high)).sum()
        for low, high in pairwise(_MODULATION_HZ)
    ]
    return torch.stack(octaves, dim=2).flatten(1)


def _blocks(shape: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Average over blocks of 0.1 s. Return frames (batch, time, bands), times (time,) and mask (batch, time)."""
    whole = -(-shape.shape[1] // _BLOCK)
    padded = F.pad(shape, (0, 0, 0, whole * _BLOCK - shape.shape[1]))
    frames = padded.unflatten(1, (whole, _BLOCK)).mean(2)
    times = 0.0125 + (torch.arange(whole, device=shape.device) * _BLOCK + (_BLOCK - 1) / 2) * 0.010
    return frames, times, frame_mask((valid // _BLOCK).clamp(min=1), whole)
