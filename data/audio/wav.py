"""WAV files of 16-bit samples that lie in memory.

libsndfile reads memory by callbacks, which takes longer than to read a file from the page cache.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

_FORMAT = struct.Struct("<4sI4s4sIHHIIHH")  # RIFF, bytes, WAVE, "fmt ", bytes, tag, channels, rate, bytes, block, bits
_CHUNK = struct.Struct("<4sI")
_PCM = 1
_MAX_CHUNKS = 16


class MemoryWav:
    """The samples of a WAV, read from one position to the end, as by `distill.data.audio.opening.Sound`.

    Args:
        samples: int16. Shape (samples, channels).
        samplerate: In Hz.
    """

    format = "WAV"
    missing: str | None = None

    def __init__(self, samples: NDArray[np.int16], samplerate: int) -> None:
        self._samples, self.samplerate, self._place = samples, samplerate, 0
        self.frames, self.channels = samples.shape

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing; the memory is freed with the samples."""

    def skip(self, count: int) -> None:
        """Move from the first sample to sample `count`."""
        self._place += count

    def pieces(self, count: int) -> Iterator[NDArray[np.int16]]:
        """Yield up to `count` samples. Shape (samples, channels). They are a copy, which may be written."""
        piece = self._samples[self._place : self._place + count]
        self._place += len(piece)
        if len(piece):
            yield piece.copy()


def open_wav(content: bytes) -> MemoryWav | None:
    """Return the samples of a whole and plain WAV of 16 bits. None: libsndfile must read it.

    Args:
        content: The file.
    """
    if len(content) < _FORMAT.size or content[:4] != b"RIFF":
        return None
    _, _, kind, name, size, tag, channels, rate, _, block, bits = _FORMAT.unpack_from(content)
    if (kind, name, size, tag, bits) != (b"WAVE", b"fmt ", 16, _PCM, 16) or not channels or block != 2 * channels:
        return None
    place = _FORMAT.size
    for _ in range(_MAX_CHUNKS):
        if place + _CHUNK.size > len(content):
            return None
        name, size = _CHUNK.unpack_from(content, place)
        place += _CHUNK.size
        if name == b"data":
            whole = 0 < size <= len(content) - place
            frames = size // block
            samples = np.frombuffer(content, "<i2", frames * channels, place) if whole else None
            return None if samples is None else MemoryWav(samples.reshape(frames, channels), rate)
        place += size + size % 2
    return None
