"""Long clips, cut the same way for every encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.batch import AudioBatch, Embeddings

POOLINGS = ("mean", "max")
_SHORTEST = 0.01  # seconds
_AT_ONCE = 8  # windows that a small batch of long clips is encoded in: memory is bounded by the window


@dataclass(frozen=True)
class Windows:
    """How a clip that is longer than a window is cut, and its embedding put together again.

    Window k begins at k * hop seconds, and the last one holds what is left. Of frames that two windows share, each
    gives those that lie nearer to its middle.

    Args:
        seconds: Length of a window; 0 gives the network whole clips.
        hop: From the start of one window to that of the next; 0 is `seconds`. A hop beyond `seconds` skips audio.
        pooling: Of the windows' clip embeddings: "mean" (each counts by the seconds in it) or "max".

    Raises:
        ValueError: a length below 0.01 s other than 0, or an unknown pooling.
    """

    seconds: float = 10.0
    hop: float = 0.0
    pooling: str = "mean"

    def __post_init__(self) -> None:
        if any(value != 0 and not _SHORTEST <= value < math.inf for value in (self.seconds, self.hop)):
            raise ValueError(f"windows: seconds {self.seconds} and hop {self.hop}: 0 or {_SHORTEST} and more is wanted")
        if self.pooling not in POOLINGS:
            raise ValueError(f"windows.pooling {self.pooling!r}: one of {', '.join(POOLINGS)} is wanted")


Encode = Callable[[AudioBatch], Embeddings]


def encode_in_windows(encode: Encode, batch: AudioBatch, windows: Windows) -> Embeddings:
    """Embed a batch window by window; a batch without a long clip is encoded as it is."""
    size = round(windows.seconds * batch.sample_rate)
    hop = round((windows.hop or windows.seconds) * batch.sample_rate)
    # What the first window answers for: up to the middle of its overlap with the second. A last hundredth of a window
    # is not worth one of its own.
    reach = (size + hop) / 2 + size / 100 if hop <= size else hop
    if not size or batch.waveform.shape[1] <= min(size, reach):
        return encode(batch)
    counts = [1 + max(0, math.ceil((length - reach) / hop)) for length in batch.lengths.tolist()]
    clips = torch.tensor([clip for clip, count in enumerate(counts) for _ in range(count)])
    starts = torch.tensor([k * hop for count in counts for k in range(count)])
    valid = (batch.lengths.cpu()[clips] - starts).clamp(max=size)
    rows = max(len(batch), _AT_ONCE)
    parts = [
        encode(_cut(batch, clips[first : first + rows], starts[first : first + rows], size))
        for first in range(0, len(clips), rows)
    ]
    return _join(parts, clips, starts, valid, counts, (size, min(hop, size), batch.sample_rate), windows.pooling)


def by_length(encode: Encode, batch: AudioBatch) -> Embeddings:
    """Encode clips of equal length together, each group without padding: for networks that know no mask."""
    groups = batch.lengths.unique(sorted=True).tolist()
    if groups == [batch.waveform.shape[1]]:
        return encode(batch)
    results = []
    for length in groups:
        rows = (batch.lengths == length).nonzero().flatten()
        results.append((rows, encode(_select(batch, rows, batch.waveform[rows, :length]))))
    longest = results[-1][1]
    parts = [_as_long(part, longest) for _, part in results]
    order = torch.cat([rows for rows, _ in results]).argsort()
    return Embeddings(
        clip=torch.cat([part.clip for part in parts])[order],
        frames=torch.cat([part.frames for part in parts])[order],
        frame_times=longest.frame_times,
        frame_mask=torch.cat([part.frame_mask for part in parts])[order],
        logits=torch.cat([part.logits for part in parts])[order],
    )


def _select(batch: AudioBatch, rows: Tensor, waveform: Tensor) -> AudioBatch:
    ids = tuple(batch.ids[row] for row in rows.tolist())
    return replace(
        batch, waveform=waveform, lengths=batch.lengths[rows].clamp(max=waveform.shape[1]), ids=ids,
        labels=batch.labels[rows],
    )  # fmt: skip


def _cut(batch: AudioBatch, clips: Tensor, starts: Tensor, size: int) -> AudioBatch:
    """One window of each named clip, zero-padded to `size` samples."""
    longest = batch.waveform.shape[1]
    pieces = [
        F.pad(batch.waveform[clip, start : start + size], (0, max(0, start + size - longest)))
        for clip, start in zip(clips.tolist(), starts.tolist(), strict=True)
    ]
    device = batch.lengths.device
    lengths = (batch.lengths[clips.to(device)] - starts.to(device)).clamp(max=size)
    return replace(_select(batch, clips.to(device), torch.stack(pieces)), lengths=lengths)


def _as_long(part: Embeddings, longest: Embeddings) -> Embeddings:
    """The same embeddings, with frames that are masked out up to the number of `longest`."""
    spare = longest.frames.shape[1] - part.frames.shape[1]
    return part._replace(frames=F.pad(part.frames, (0, 0, 0, spare)), frame_mask=F.pad(part.frame_mask, (0, spare)))


def _join(
    parts: list[Embeddings],
    clips: Tensor,
    starts: Tensor,
    valid: Tensor,
    counts: list[int],
    geometry: tuple[int, int, int],
    pooling: str,
) -> Embeddings:
    """Embeddings of clips from those of their windows, which come clip by clip."""
    size, hop, sample_rate = geometry
    longest = max(parts, key=lambda part: part.frames.shape[1])
    parts = [_as_long(part, longest) for part in parts]
    device = longest.clip.device
    window = torch.cat([torch.arange(count) for count in counts]).to(device)
    place = (clips.to(device), window)
    weights = torch.zeros(len(counts), max(counts), device=device)
    weights[place] = valid.to(device, weights.dtype)

    def pooled(vectors: Tensor) -> Tensor:
        grid = vectors.new_zeros(*weights.shape, vectors.shape[1])
        grid[place] = vectors
        if pooling == "max":
            return grid.masked_fill(weights.unsqueeze(2) == 0, -torch.inf).amax(1)
        shares = (weights / weights.sum(1, keepdim=True)).to(vectors.dtype)
        return (grid * shares.unsqueeze(2)).sum(1)

    local = longest.frame_times.double()
    margin = (size - hop) / 2 / sample_rate
    first, last = local >= margin, local < margin + hop / sample_rate
    keep = last.repeat(max(counts), 1) & first
    keep[0] = last
    frames = longest.frames.new_zeros(*weights.shape, *longest.frames.shape[1:])
    mask = longest.frame_mask.new_zeros(*weights.shape, len(local))
    frames[place], mask[place] = torch.cat([p.frames for p in parts]), torch.cat([p.frame_mask for p in parts])
    origin = starts.unique(sorted=True)
    times = (origin.to(device).unsqueeze(1) / sample_rate + local).to(longest.frame_times.dtype)
    return Embeddings(
        clip=pooled(torch.cat([part.clip for part in parts])),
        frames=frames.flatten(1, 2)[:, keep.flatten()],
        frame_times=times.flatten()[keep.flatten()],
        frame_mask=mask.flatten(1, 2)[:, keep.flatten()],
        logits=pooled(torch.cat([part.logits for part in parts])),
    )
