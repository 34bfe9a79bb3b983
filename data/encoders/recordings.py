"""Recordings of hours: a clip that comes in pieces is encoded window by window, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from distill.data.audio.parts import Part
from distill.data.audio.read import Span, blocks, sample_rate_of
from distill.data.audio.resample import resample_blocks
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.tiling import Tiling, cut_in_windows
from distill.data.encoders.windows import MIN_WINDOWS_PER_BATCH, Encode, WindowGrid, join

LONG_SECONDS = 120.0  # a longer part of a file is not held in memory at once
_PIECE_SECONDS = 30.0

Pieces = Callable[[], Iterator[Tensor]]
"""Returns the samples of one clip, (samples,) float32 in [-1, 1], one piece after another. It may be called again."""


class Window(NamedTuple):
    """One window of a recording.

    Args:
        start: Start, in seconds from the start of the recording.
        end: End, in seconds from the start of the recording.
        embeddings: Embeddings of the window, a batch of one. Its frame times count from `start`.
    """

    start: float
    end: float
    embeddings: Embeddings


def pieces_of(path: str | os.PathLike[str], span: Span, sample_rate: int, part: Part | None = None) -> Pieces:
    """Return the pieces of a part of a sound, at `sample_rate` Hz. Reading them raises AudioError.

    Args:
        path: The file.
        span: The part of the sound.
        sample_rate: In Hz.
        part: The part of the file that holds the sound. None: the whole file is the sound.
    """

    def pieces() -> Iterator[Tensor]:
        decoded = blocks(path, span, part, seconds=_PIECE_SECONDS)
        return resample_blocks(decoded, sample_rate_of(path, part), sample_rate)

    return pieces


def window_batches(
    pieces: Iterable[Tensor], tiling: Tiling, sample_rate: int, rows: int = MIN_WINDOWS_PER_BATCH
) -> Iterator[tuple[list[int], AudioBatch]]:
    """Cut a clip that comes in pieces into windows, and yield them in batches, with the first sample of each window.

    Args:
        pieces: Samples of the clip, one piece after another. Shape (samples,).
        tiling: The windows.
        sample_rate: Rate of the pieces, in Hz.
        rows: Windows of a batch. The last batch may have fewer.
    """
    size = tiling.in_samples(sample_rate)[0]
    windows = cut_in_windows((piece.numpy() for piece in pieces), tiling, sample_rate)
    while part := list(islice(windows, rows)):
        waveform = torch.zeros(len(part), size)
        for row, (_, samples) in zip(waveform, part, strict=True):
            row[: len(samples)] = torch.from_numpy(samples)
        lengths = torch.tensor([len(samples) for _, samples in part])
        yield [start for start, _ in part], AudioBatch.of(waveform, sample_rate, lengths)


def encode_pieces(
    encode: Encode, pieces: Iterable[Tensor], tiling: Tiling, sample_rate: int, device: torch.device, frames: bool
) -> Embeddings:
    """Encode a clip that comes in pieces, window by window.

    Args:
        encode: Function that encodes a batch of windows.
        pieces: Samples of the clip, one piece after another. Shape (samples,).
        tiling: The windows.
        sample_rate: Rate of the pieces, in Hz.
        device: Device of the encoder.
        frames: Whether the frames are returned. Their memory grows with the length of the clip.

    Returns:
        The embeddings of the clip, a batch of one. Without `frames`, its only frame is the clip embedding.
    """
    parts, last = list[Embeddings](), 0
    clip, logits = _Pooled(tiling.pooling), _Pooled(tiling.pooling)
    for starts, batch in window_batches(pieces, tiling, sample_rate):
        part = encode(batch.to(device))
        if frames:
            parts.append(part)
        else:
            clip.add(part.clip, batch.lengths)
            logits.add(part.logits, batch.lengths)
        last = starts[-1] + int(batch.lengths[-1])
    if frames:
        return join(parts, WindowGrid.of(tiling, torch.tensor([last]), sample_rate), tiling.pooling)
    return Embeddings.of_clip(clip.result())._replace(logits=logits.result())


class _Pooled:
    """The pooled vector of windows, in the memory of one vector.

    Args:
        pooling: "mean" or "max".
    """

    def __init__(self, pooling: str) -> None:
        self.is_maximum = pooling == "max"
        self._samples = 0
        self._vector: Tensor | None = None  # maximum, or sum weighted by samples
        self._dtype = torch.float32

    def add(self, vectors: Tensor, samples: Tensor) -> None:
        """Add vectors (windows, dim) of windows with some valid samples (windows,)."""
        wide, weights = vectors.double(), samples.to(vectors.device, torch.float64)
        added = wide.amax(0) if self.is_maximum else weights @ wide
        if self._vector is not None:
            added = torch.maximum(self._vector, added) if self.is_maximum else self._vector + added
        self._vector, self._dtype, self._samples = added, vectors.dtype, self._samples + int(samples.sum())

    def result(self) -> Tensor:
        """Return the pooled vector. Shape (1, dim)."""
        assert self._vector is not None
        vector = self._vector if self.is_maximum else self._vector / self._samples
        return vector.to(self._dtype).unsqueeze(0)
