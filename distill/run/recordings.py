"""Clips that are too long to be held in memory: each is read and embedded piece by piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distill.data.audio.read import Span
from distill.data.batch import Embeddings
from distill.data.clips.manifest import Row
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.recordings import LONG_SECONDS, pieces_of
from distill.run.precision import Prepared
from distill.teachers.teacher import Teacher


def longest_at_once(encoder: Encoder) -> float:
    """Return the length of the longest clip that is decoded at once for an encoder, in seconds."""
    reads_no_audio = isinstance(encoder, Teacher) and encoder.store is not None
    return math.inf if reads_no_audio else LONG_SECONDS


def cut_line(encoder: Encoder, clips: int) -> str:
    """Return a line on long clips that an encoder without windows cannot embed whole; empty without any.

    Args:
        encoder: The encoder.
        clips: Number of clips that were embedded piece by piece.
    """
    if not clips or encoder.windows.seconds or encoder.longest_whole == math.inf:
        return ""
    name = type(encoder).__name__
    return (
        f"{clips:,} clips of more than {encoder.longest_whole:g} s were embedded in windows of "
        f"{encoder.tiling.seconds:g} s, whose mean they are: {name} has no windows of its own"
    )


@torch.inference_mode()
def embed_recording(encode: Prepared, row: Row, span: Span, frames: bool, on_piece: Callable[[], None]) -> Embeddings:
    """Embed a long clip piece by piece.

    Args:
        encode: Encoder with its arithmetic, in evaluation mode.
        row: The clip.
        span: The part of its file that is embedded.
        frames: Whether the frames are returned. Their memory grows with the length of the clip.
        on_piece: Function that is called before each piece. It may raise an error to stop the work.

    Returns:
        The embeddings of the clip, a batch of one.

    Raises:
        AudioError: the file cannot be read.
    """
    read = pieces_of(row.path, span, encode.encoder.sample_rate, row.part)

    def pieces() -> Iterator[Tensor]:
        for piece in read():
            on_piece()
            yield piece

    return encode.pieces(pieces, frames)
