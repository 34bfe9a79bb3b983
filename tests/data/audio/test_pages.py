"""Headers of pages and packed numbers, as the format describes them."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.audio.pages import DATA, DATA_V2, DICTIONARY, PageHeader, decode_hybrid, parse_header

# Field headers of Thrift: 0x15 is "the next field, int32", 0x2c "the second next, a structure"; numbers are doubled.
HEADERS = {
    "data": (
        b"\x15\x00\x15\x64\x15\x50\x2c\x15\x06\x15\x10\x15\x06\x15\x06\x00\x00",
        PageHeader(DATA, 50, 40, 3, 8, 0, True, 17),
    ),
    "dictionary": (
        b"\x15\x04\x15\x64\x15\x50\x4c\x15\x06\x15\x00\x12\x00\x00",
        PageHeader(DICTIONARY, 50, 40, 3, 0, 0, True, 14),
    ),
    "version 2": (
        b"\x15\x06\x15\x64\x15\x50\x5c\x15\x06\x15\x02\x15\x06\x15\x10\x15\x04\x15\x02\x12\x00\x00",
        PageHeader(DATA_V2, 50, 40, 3, 8, 3, False, 22),
    ),
    "statistics": (
        b"\x15\x00\x15\x64\x15\x50\x2c\x15\x06\x15\x00\x15\x06\x15\x06\x1c\x18\x03abc\x16\x02\x00\x00\x00",
        PageHeader(DATA, 50, 40, 3, 0, 0, True, 26),
    ),
    "unknown kind": (b"\x15\x02\x15\x64\x15\x50\x00", PageHeader(1, 50, 40, 0, 0, 0, True, 7)),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_is_read_with_its_length(name: str) -> None:
    data, header = HEADERS[name]
    assert parse_header(data + b"the page") == header
    for end in range(len(data)):
        with pytest.raises(IndexError):
            parse_header(data[:end])


@pytest.mark.parametrize(
    "data",
    [b"RIFF", b"\x00", b"\x15\x01" * 3 + b"\x00", b"\x15" + b"\xff" * 20, b"\x1c" * 100, b"\x15\x00\x15\x64\x19"],
)
def test_other_bytes_are_no_header(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no page header|64 bits"):
        parse_header(data)


@pytest.mark.parametrize(
    ("data", "width", "numbers"),
    [
        (b"\x0a\x05", 3, [5] * 5),  # a run
        (b"\x08\x00\x03", 9, [768] * 4),  # of two bytes
        (b"\x03\x88\xc6\xfa", 3, [0, 1, 2, 3, 4, 5, 6, 7]),  # the example of the format
        (b"\x04\x01\x03\x88\xc6\xfa\x02\x07", 3, [1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 7]),
        (b"\x03\x88\xc6\xfa", 3, [0, 1, 2]),  # the rest of a group is padding
        (b"", 0, [0, 0]),
        (b"\x05\x0f\x00", 1, [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_packed_numbers_are_unpacked(data: bytes, width: int, numbers: list[int]) -> None:
    assert decode_hybrid(data, width, len(numbers)).tolist() == numbers


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b"\x03", b"\x0a\x05", b"\xff" * 12])
def test_damaged_numbers_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        decode_hybrid(data, 3, 9)


def test_a_run_of_a_false_length_takes_no_memory() -> None:
    assert np.array_equal(decode_hybrid(b"\xfe\xff\xff\xff\x0f\x02", 2, 4), [2, 2, 2, 2])
