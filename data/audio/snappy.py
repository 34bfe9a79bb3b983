"""Random access inside data that snappy has compressed.

Every known writer compresses blocks of 64 KB on their own. So the blocks that hold a sound can be decompressed without
the others; sounds are compressed already, and such blocks are found fast. See
https://github.com/google/snappy/blob/main/format_description.txt.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.parts import ReadAt
from distill.data.errors import first_line

BLOCK = 1 << 16  # bytes of a block before compression
_MIN_BYTES_PER_ELEMENT = 256  # in data of shorter elements, the search takes longer than to decompress everything
_READ = 1 << 12


def block_places(read_at: ReadAt, stored: int, size: int) -> NDArray[np.int64] | None:
    """Return where each compressed block begins, and the end of the last, as offsets for `read_at`.

    Args:
        read_at: Reads the compressed data.
        stored: Bytes of the compressed data.
        size: Bytes of the data.

    Returns:
        int64 of shape (blocks + 1,). None if the blocks are not independent, or the search would take long.

    Raises:
        ValueError: the data is damaged.
    """
    elements = _Elements(read_at, stored)
    if elements.preamble() != size:
        raise ValueError("the compressed data has another length than its header states")
    places = array("q")
    done, budget = 0, 64 + size // _MIN_BYTES_PER_ELEMENT
    for _ in range(budget):
        if done % BLOCK == 0 and done < size:
            places.append(elements.place)
        elif done >= size:
            break
        length, distance = elements.next()
        inside = done % BLOCK
        if distance > inside or inside + length > BLOCK:
            return None  # it reaches into another block
        done += length
    if done != size or elements.place != stored:
        return None
    places.append(stored)
    return np.frombuffer(places, np.int64)


class _Elements:
    """The elements of compressed data, one after another: literal bytes, or copies of earlier bytes."""

    def __init__(self, read_at: ReadAt, stored: int) -> None:
        self._read_at, self._stored = read_at, stored
        self._buffer, self._begin = b"", 0  # bytes of the data, and the place of the first
        self.place = 0  # of the next element

    def preamble(self) -> int:
        """Return the length of the data, which stands before the elements."""
        head = self._bytes(10)
        value = 0
        for count, byte in enumerate(head[:5]):
            value |= (byte & 127) << 7 * count
            if byte < 128:
                self.place = count + 1
                return value
        raise ValueError("no snappy data")

    def next(self) -> tuple[int, int]:
        """Pass an element. Return the number of its bytes after decompression, and how far back it copies from."""
        head = self._bytes(5)
        if len(head) < 2:
            raise ValueError("the compressed data ends early")
        tag = head[0]
        kind, number = tag & 3, tag >> 2
        if kind == 0:
            extra = max(0, number - 59)
            length = (int.from_bytes(head[1 : 1 + extra], "little") if extra else number) + 1
            self.place += 1 + extra + length
            return length, 0
        extra = (0, 1, 2, 4)[kind]
        distance = int.from_bytes(head[1 : 1 + extra], "little")
        self.place += 1 + extra
        if kind == 1:
            return (number & 7) + 4, (tag >> 5) << 8 | distance
        return number + 1, distance

    def _bytes(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        at = self.place - self._begin
        if not 0 <= at <= len(self._buffer) - size:
            self._begin, at = self.place, 0
            self._buffer = self._read_at(self.place, min(_READ, max(0, self._stored - self.place)))
        return self._buffer[at : at + size]


def block_reader(read_at: ReadAt, places: NDArray[np.int64], size: int) -> ReadAt:
    """Return a function that reads the decompressed data at any place.

    Args:
        read_at: Reads the compressed data.
        places: Where the blocks begin, from `block_places`.
        size: Bytes of the data after decompression.
    """

    def read(offset: int, count: int) -> bytes:
        end = min(offset + count, size)
        if end <= offset:
            return b""
        first, last = offset // BLOCK, -(-end // BLOCK)
        begin, total = first * BLOCK, min(last * BLOCK, size) - first * BLOCK
        blocks = read_at(int(places[first]), int(places[last] - places[first]))
        return decompress(_preamble(total) + blocks, total, "snappy")[offset - begin : end - begin]

    return read


def _preamble(size: int) -> bytes:
    """Return a length as it stands before the elements of compressed data."""
    data = bytearray()
    while size >= 128:
        data.append(size & 127 | 128)
        size >>= 7
    return bytes([*data, size])


def decompress(data: bytes, size: int, codec: str) -> bytes:
    """Return data after decompression by pyarrow.

    Args:
        data: The compressed data.
        size: Bytes after decompression.
        codec: "snappy", "zstd", "gzip", "brotli" or "lz4_raw".

    Raises:
        ValueError: the data is damaged.
    """
    import pyarrow

    try:
        return pyarrow.Codec(codec).decompress(data, size, asbytes=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(first_line(error)) from error
