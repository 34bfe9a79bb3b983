"""Encode long clips in windows, and clips of unequal length without padding. The same for every encoder.

In shapes, `windows` is the number of windows of all clips of a batch, in the order of the clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.tiling import Covered, Tiling, Windows

__all__ = [
    "MIN_WINDOWS_PER_BATCH",
    "Covered",
    "Encode",
    "Tiling",
    "WindowGrid",
    "Windows",
    "by_length",
    "by_similar_length",
    "encode_apart",
    "encode_in_windows",
    "groups_by_length",
    "join",
]

_SIMILAR = 0.8  # of the longest clip; then a tenth of a group is padding, and there are few groups
MIN_WINDOWS_PER_BATCH = 8  # a batch of fewer clips still encodes 8 windows at a time, for speed

Encode = Callable[[AudioBatch], Embeddings]


@dataclass(frozen=True, eq=False)
class WindowGrid:
    """Where the windows of a batch lie: which window of which clip, and at which sample.

    Args:
        counts: Windows of each clip. Length: clips.
        lengths: Valid samples of each clip, int64, on the CPU. Shape (clips,).
        size: Samples of a window.
        hop: Samples from the start of one window to the start of the next.
        sample_rate: In Hz.
        begin: Second of a window from which on its frames belong to it. The first window has no such limit.
        end: Second of a window up to which its frames belong to it.
    """

    counts: Sequence[int]
    lengths: Tensor
    size: int
    hop: int
    sample_rate: int
    begin: float
    end: float

    @classmethod
    def of(cls, tiling: Tiling, lengths: Tensor, sample_rate: int) -> Self:
        """Return the windows of clips.

        Args:
            tiling: Length and hop of the windows.
            lengths: Valid samples of each clip, int64. Shape (clips,).
            sample_rate: In Hz.
        """
        on_cpu = lengths.cpu()
        counts = tiling.counts_in_samples(on_cpu.numpy(), sample_rate).tolist()
        return cls(counts, on_cpu, *tiling.in_samples(sample_rate), sample_rate, tiling.begin, tiling.end)

    @cached_property
    def clips(self) -> Tensor:
        """Clip of each window, int64. Shape (windows,)."""
        return torch.arange(len(self.counts)).repeat_interleave(torch.tensor(self.counts))

    @cached_property
    def numbers(self) -> Tensor:
        """Number of each window within its clip, int64. Shape (windows,)."""
        return torch.cat([torch.arange(count) for count in self.counts])

    @cached_property
    def starts(self) -> Tensor:
        """First sample of each window, int64. Shape (windows,)."""
        return self.numbers * self.hop

    @cached_property
    def valid(self) -> Tensor:
        """Valid samples of each window, int64. Shape (windows,)."""
        return (self.lengths[self.clips] - self.starts).clamp(max=self.size)

    def scatter(self, values: Tensor) -> Tensor:
        """Arrange values of windows (windows, ...) as a grid (clips, windows of the longest clip, ...)."""
        grid = values.new_zeros(len(self.counts), max(self.counts), *values.shape[1:])
        grid[self.clips.to(values.device), self.numbers.to(values.device)] = values
        return grid


def encode_in_windows(encode: Encode, batch: AudioBatch, tiling: Tiling) -> Embeddings:
    """Encode a batch window by window. A batch without a long clip is encoded whole.

    The encoder gets at most max(batch size, 8) windows at a time, so memory does not grow with the length of a clip.
    """
    if batch.waveform.shape[1] <= tiling.whole_seconds * batch.sample_rate:
        return encode(batch)
    grid = WindowGrid.of(tiling, batch.lengths, batch.sample_rate)
    rows = max(len(batch), MIN_WINDOWS_PER_BATCH)
    parts = [
        encode(_cut(batch, clips, starts, grid.size))
        for clips, starts in zip(grid.clips.split(rows), grid.starts.split(rows), strict=True)
    ]
    return join(parts, grid, tiling.pooling)


def by_length(encode: Encode, batch: AudioBatch) -> Embeddings:
    """Encode clips of equal length together, without padding. For networks that do not support masks."""
    return _in_groups(encode, batch, groups_by_length(batch.host_lengths, share=1.0))


def by_similar_length(encode: Encode, batch: AudioBatch) -> Embeddings:
    """Encode clips of similar length together, with little padding. For networks that support masks."""
    return _in_groups(encode, batch, groups_by_length(batch.host_lengths))


def groups_by_length(lengths: Tensor, share: float = _SIMILAR) -> list[Tensor]:
    """Return the rows of clips in groups of similar length, from the shortest clips to the longest.

    Args:
        lengths: Length of each clip, int64, on the CPU. Shape (clips,).
        share: Least length of a clip, as a share of the longest of its group. 1: equal lengths. Below 1, all clips
            that are shorter than a tenth of the longest clip may share a group, so that there are few groups.
    """
    order = lengths.argsort(stable=True)
    ascending = lengths[order]
    if share < 1:
        ascending = ascending.clamp(min=int(ascending[-1]) // 10)
    groups, end = list[Tensor](), len(order)
    while end:
        start = int(torch.searchsorted(ascending, math.ceil(share * int(ascending[end - 1]))))
        groups.insert(0, order[start:end])
        end = start
    return groups


def _in_groups(encode: Encode, batch: AudioBatch, groups: Sequence[Tensor]) -> Embeddings:
    """Encode the clips at the rows of each group together. The last group has the longest clips."""
    if len(groups) == 1 and int(batch.host_lengths.max()) == batch.waveform.shape[1]:
        return encode(batch)
    return _merge([(rows, encode(batch.select(rows))) for rows in groups])


def encode_apart(batch: AudioBatch, seconds: float, encode: Encode, encode_longer: Encode) -> Embeddings:
    """Encode the clips of up to `seconds` by one function, and the longer ones by another."""
    is_longer = batch.host_lengths > seconds * batch.sample_rate
    parts = [(~is_longer, encode), (is_longer, encode_longer)]
    groups = [(chosen.nonzero().flatten(), function) for chosen, function in parts if bool(chosen.any())]
    return _merge([(rows, function(batch.select(rows))) for rows, function in groups])


def _merge(results: Sequence[tuple[Tensor, Embeddings]]) -> Embeddings:
    """Return the embeddings of a batch from those of groups of its rows. The last group has the longest clips."""
    longest = results[-1][1]
    parts = _pad_frames([part for _, part in results])
    order = torch.cat([rows for rows, _ in results]).argsort().to(longest.clip.device, non_blocking=True)
    return Embeddings(
        clip=torch.cat([part.clip for part in parts])[order],
        frames=torch.cat([part.frames for part in parts])[order],
        frame_times=longest.frame_times,
        frame_mask=torch.cat([part.frame_mask for part in parts])[order],
        logits=torch.cat([part.logits for part in parts])[order],
    )


def _select(batch: AudioBatch, rows: Tensor, waveform: Tensor) -> AudioBatch:
    """Return the clips at `rows` with other samples, (rows, samples)."""
    ids = tuple(batch.ids[row] for row in rows.tolist())
    return replace(
        batch, waveform=waveform, lengths=batch.lengths[rows].clamp(max=waveform.shape[1]), ids=ids,
        labels=batch.labels[rows],
    )  # fmt: skip


def _cut(batch: AudioBatch, clips: Tensor, starts: Tensor, size: int) -> AudioBatch:
    """Return one window for each of `clips` and `starts` (windows,), zero-padded to `size` samples."""
    samples = batch.waveform.shape[1]
    pieces = [
        F.pad(batch.waveform[clip, start : start + size], (0, max(0, start + size - samples)))
        for clip, start in zip(clips.tolist(), starts.tolist(), strict=True)
    ]
    device = batch.lengths.device
    lengths = (batch.lengths[clips.to(device)] - starts.to(device)).clamp(max=size)
    return replace(_select(batch, clips.to(device), torch.stack(pieces)), lengths=lengths)


def _pad_frames(parts: Sequence[Embeddings]) -> list[Embeddings]:
    """Return embeddings with an equal number of frames; the added frames are masked."""
    longest = max(part.frames.shape[1] for part in parts)
    spares = (longest - part.frames.shape[1] for part in parts)
    return [
        part._replace(frames=F.pad(part.frames, (0, 0, 0, spare)), frame_mask=F.pad(part.frame_mask, (0, spare)))
        for part, spare in zip(parts, spares, strict=True)
    ]


def join(parts: Sequence[Embeddings], grid: WindowGrid, pooling: str) -> Embeddings:
    """Return the embeddings of clips from the embeddings of their windows.

    Args:
        parts: Embeddings of the windows, in the order of the grid; each of several windows.
        grid: The windows.
        pooling: "mean" or "max".
    """
    local_times = max((part.frame_times for part in parts), key=len)
    parts = _pad_frames(parts)
    frames, mask, times = stitch_frames(
        torch.cat([part.frames for part in parts]), torch.cat([part.frame_mask for part in parts]), local_times, grid
    )
    return Embeddings(
        clip=pool_clips(torch.cat([part.clip for part in parts]), grid, pooling),
        frames=frames,
        frame_times=times,
        frame_mask=mask,
        logits=pool_clips(torch.cat([part.logits for part in parts]), grid, pooling),
    )


def pool_clips(vectors: Tensor, grid: WindowGrid, pooling: str) -> Tensor:
    """Return the pooled vectors (clips, dim) of the vectors of windows (windows, dim)."""
    samples = grid.scatter(grid.valid.to(vectors.device, torch.float32))
    table = grid.scatter(vectors)
    if pooling == "max":
        return table.masked_fill(samples.unsqueeze(2) == 0, -torch.inf).amax(1)
    shares = (samples / samples.sum(1, keepdim=True)).to(vectors.dtype)
    return (table * shares.unsqueeze(2)).sum(1)


def stitch_frames(frames: Tensor, mask: Tensor, local_times: Tensor, grid: WindowGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Join the frames of windows to the frames of clips. Where windows overlap, the grid decides.

    Args:
        frames: Frames of each window. Shape (windows, time, dim).
        mask: True where a frame is valid. Shape (windows, time).
        local_times: Centres of the frames, in seconds from the start of a window. Shape (time,).
        grid: The windows.

    Returns:
        Frames (clips, frames, dim), their mask (clips, frames) and their centres in seconds (frames,).
    """
    seconds = local_times.double()
    number = torch.arange(max(grid.counts), device=seconds.device).unsqueeze(1)
    times = (number * grid.hop / grid.sample_rate + seconds).to(local_times.dtype)
    # The first window has no neighbour before it.
    keep = (((seconds >= grid.begin) | (number == 0)) & (seconds < grid.end)).flatten()
    return grid.scatter(frames).flatten(1, 2)[:, keep], grid.scatter(mask).flatten(1, 2)[:, keep], times.flatten()[keep]
