"""The decoding of the clips of a batch, several at once where this process may use several cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from distill.data.audio.read import Samples, Span, read
from distill.data.clips.manifest import Row
from distill.data.errors import AudioError

Decoded = tuple[Samples, int]
_COPIED = (".wav", ".wave")  # of samples that are copied, for which threads take longer to begin than they save


def decode_all(rows: Sequence[Row], spans: Sequence[Span]) -> list[Decoded | AudioError]:
    """Decode the spans of clips. Return samples and sample rate of each, or why it cannot be used.

    As many clips are decoded at once as torch uses threads: one in the processes of a loader. libsndfile keeps the
    last error of a process in one place, so a file that fails beside others is decoded again, alone.
    """
    threads = min(torch.get_num_threads(), len(rows))
    found: list[Decoded | None] = [None] * len(rows)
    if threads > 1 and not any(map(_is_copied, rows)):
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(_decode_or_none, rows, spans))
    return [done or _decode(row, span) for row, span, done in zip(rows, spans, found, strict=True)]


def _is_copied(row: Row) -> bool:
    """Return whether a clip is read without decoding, or from a container, whose readers remember their last place."""
    return row.part is not None or os.fspath(row.path).lower().endswith(_COPIED)


def _decode_or_none(row: Row, span: Span) -> Decoded | None:
    try:
        return read(row.path, span, row.part)
    except Exception:  # decoded again, where the error of the file itself is raised
        return None


def _decode(row: Row, span: Span) -> Decoded | AudioError:
    try:
        return read(row.path, span, row.part)
    except AudioError as error:
        return error
