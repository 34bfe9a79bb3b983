"""Small changes of a batch of clips, to which an embedding should hardly be sensitive, and two crops of each clip."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch


def change_gain(batch: AudioBatch, decibels: float = -6.0) -> AudioBatch:
    """Return clips of another level.

    Args:
        batch: Clips.
        decibels: Gain in dB.
    """
    return batch.with_waveform(batch.waveform * 10 ** (decibels / 20))


def add_noise(batch: AudioBatch, decibels: float = 20.0, seed: int = 0) -> AudioBatch:
    """Return clips with white noise. Silent clips stay silent, and the padding stays 0.

    Args:
        batch: Clips.
        decibels: Ratio of the power of a clip to that of its noise, in dB.
        seed: Seed of the noise.
    """
    waveform = batch.waveform
    noise = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(seed)).to(waveform.device)
    power = waveform.square().sum(1, keepdim=True) / batch.lengths.unsqueeze(1)
    noise = noise * power.sqrt() * 10 ** (-decibels / 20)
    return batch.with_waveform(waveform + noise.masked_fill(~frame_mask(batch.lengths, waveform.shape[1]), 0))


def delay(batch: AudioBatch, seconds: float = 0.05) -> AudioBatch:
    """Return clips that begin with silence of some seconds; no sample is lost."""
    samples = round(seconds * batch.sample_rate)
    return replace(batch, waveform=F.pad(batch.waveform, (samples, 0)), lengths=batch.lengths + samples)


def halves(batch: AudioBatch) -> tuple[AudioBatch, AudioBatch]:
    """Return the first and the second half of each clip, of equal length. Every clip must have two samples."""
    lengths = batch.lengths // 2
    return tuple(_part(batch, begin, lengths) for begin in (torch.zeros_like(lengths), lengths))  # type: ignore[return-value]


def longer_than(batch: AudioBatch, seconds: float) -> AudioBatch | None:
    """Return the clips of at least some seconds. None if there is none."""
    rows = (batch.lengths >= seconds * batch.sample_rate).nonzero().flatten()
    return take(batch, rows) if len(rows) else None


def take(batch: AudioBatch, rows: Tensor) -> AudioBatch:
    """Return the clips at some rows.

    Args:
        batch: Clips.
        rows: Shape (clips,), int64.
    """
    lengths = batch.lengths[rows]
    return replace(
        batch,
        waveform=batch.waveform[rows, : int(lengths.max())],
        lengths=lengths,
        ids=tuple(batch.ids[row] for row in rows.tolist()),
        labels=batch.labels[rows],
    )


def _part(batch: AudioBatch, begin: Tensor, lengths: Tensor) -> AudioBatch:
    """Return a part of each clip: its first sample and its length, each of shape (batch,)."""
    parts = [clip[first : first + length] for clip, first, length in zip(batch.waveform, begin, lengths, strict=True)]
    return replace(batch, waveform=torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), lengths=lengths)
