"""The format of Parquet's data pages, as far as binary values need it.

See https://parquet.apache.org/docs/file-format/data-pages/. pyarrow decodes whole row groups only: with the 100 to 1000
sounds of a usual row group, a random clip would cost as much as all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DATA, DICTIONARY, DATA_V2 = 0, 2, 3  # kinds of pages
PLAIN, PLAIN_DICTIONARY, RLE_DICTIONARY = 0, 2, 8  # encodings of values
_MAX_DEPTH = 8  # of structures in a header; the format has 3


class PageHeader(NamedTuple):
    """The header of a page.

    Args:
        kind: `DATA`, `DICTIONARY`, `DATA_V2`, or another number.
        size: Bytes of the page after decompression.
        stored: Bytes of the page in the file.
        values: Number of values, nulls included.
        encoding: Encoding of the values.
        levels: Bytes of the levels before the values of a `DATA_V2` page, which are never compressed.
        compressed: Whether the values are compressed, if the column is.
        length: Bytes of the header itself.
    """

    kind: int
    size: int
    stored: int
    values: int
    encoding: int
    levels: int
    compressed: bool
    length: int


def parse_header(data: bytes) -> PageHeader:
    """Read the header at the start of `data`.

    Raises:
        IndexError: the header is longer than `data`.
        ValueError: `data` does not begin with a header.
    """
    fields, length = _structure(data, 0, 0)
    kind, size, stored = (_whole(fields, number) for number in (1, 2, 3))
    details = fields.get({DATA: 5, DICTIONARY: 7, DATA_V2: 8}.get(kind, 0), {1: 0, 2: 0, 4: 0})
    version_2 = kind == DATA_V2
    return PageHeader(
        kind,
        size,
        stored,
        _whole(details, 1),
        _whole(details, 4 if version_2 else 2),
        _whole(details, 5) + _whole(details, 6) if version_2 else 0,
        not version_2 or details.get(7, True) is True,
        length,
    )


def _whole(fields: Any, number: int) -> int:
    """Return a field that must be a number of at least 0."""
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("no page header")
    return value


def _structure(data: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read a structure in Thrift's compact form: its fields by number, and the place after it."""
    if depth > _MAX_DEPTH:
        raise ValueError("no page header")
    fields: dict[int, Any] = {}
    number = 0
    while (head := data[place]) != 0:
        place += 1
        if head >> 4:
            number += head >> 4
        else:
            step, place = _variable(data, place)
            number = _signed(step)
        fields[number], place = _value(data, place, head & 15, depth)
    return fields, place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # a boolean is its type
        return kind == 1, place
    if kind in (4, 5, 6):  # integers of 16, 32 and 64 bits
        value, place = _variable(data, place)
        return _signed(value), place
    if kind == 8:  # binary: minimum and maximum of the values, not needed
        size, place = _variable(data, place)
        return None, place + size
    if kind == 12:
        return _structure(data, place, depth + 1)
    raise ValueError("no page header")


def _variable(data: bytes, place: int) -> tuple[int, int]:
    """Read an unsigned number of 7 bits a byte, the lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number is longer than 64 bits")


def _signed(value: int) -> int:
    return value >> 1 ^ -(value & 1)


def decode_hybrid(data: bytes, width: int, count: int) -> NDArray[np.int64]:
    """Decode numbers in Parquet's mixture of runs and packed bits.

    Args:
        data: The encoded numbers.
        width: Bits of a number.
        count: How many numbers to decode.

    Returns:
        The numbers, int64. Shape (count,).

    Raises:
        ValueError, IndexError: `data` is damaged.
    """
    numbers = np.zeros(count, np.int64)
    if width == 0:
        return numbers
    if width > 32:
        raise ValueError(f"numbers of {width} bits")
    weights = 1 << np.arange(width, dtype=np.int64)
    place = done = 0
    while done < count:
        head, place = _variable(data, place)
        if head & 1:  # groups of 8 packed numbers
            size = (head >> 1) * width
            bits = np.unpackbits(np.frombuffer(data[place : place + size], np.uint8), bitorder="little")
            run = bits[: len(bits) // width * width].reshape(-1, width) @ weights
            if not len(run):
                raise ValueError("the packed numbers end early")
        else:  # one number, repeated
            size = (width + 7) // 8
            value = int.from_bytes(data[place : place + size], "little")
            run = np.full(min(head >> 1, count - done), value, np.int64)
            if not len(run):
                raise ValueError("a run of no numbers")
        run = run[: count - done]
        numbers[done : done + len(run)] = run
        done, place = done + len(run), place + size
    return numbers
