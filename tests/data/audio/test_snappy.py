"""Blocks of snappy data are found, and each is decompressed alone."""

from __future__ import annotations

import numpy as np
import pyarrow
import pytest

from distill.data.audio.snappy import BLOCK, block_places, block_reader, decompress


def random_bytes(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


SOUNDS = {
    "compressed sound": random_bytes(5 * BLOCK + 123),
    "of whole blocks": random_bytes(2 * BLOCK),
    "with silence": random_bytes(BLOCK) + bytes(BLOCK // 2) + random_bytes(BLOCK),
    "twice the same": random_bytes(BLOCK // 2) * 5,
    "short": b"abc",
    "one byte": b"a",
}


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.read = data, 0

    def __call__(self, offset: int, size: int) -> bytes:
        content = self.data[offset : offset + size]
        self.read += len(content)
        return content


@pytest.mark.parametrize("name", SOUNDS)
def test_any_place_is_read_from_its_blocks(name: str) -> None:
    data = SOUNDS[name]
    packed = Reader(pyarrow.compress(data, codec="snappy", asbytes=True))
    places = block_places(packed, len(packed.data), len(data))
    if places is None:  # many short copies
        assert name == "with silence"
        return
    assert len(places) == -(-len(data) // BLOCK) + 1
    read = block_reader(packed, places, len(data))
    for offset, size in [
        (0, 10),
        (0, len(data)),
        (BLOCK - 3, 6),
        (len(data) - 4, 4),
        (len(data) - 1, 50),
        (len(data), 9),
    ]:
        if offset >= 0:
            assert read(offset, size) == data[offset : offset + size]


def test_a_sound_costs_its_own_blocks() -> None:
    data = random_bytes(100 * BLOCK)
    packed = Reader(pyarrow.compress(data, codec="snappy", asbytes=True))
    places = block_places(packed, len(packed.data), len(data))
    assert places is not None
    assert packed.read < len(data) / 10  # only the heads of the elements
    packed.read = 0
    assert block_reader(packed, places, len(data))(50 * BLOCK + 5, BLOCK) == data[50 * BLOCK + 5 : 51 * BLOCK + 5]
    assert packed.read < 3 * BLOCK


def test_data_of_short_elements_is_not_searched() -> None:
    data = bytes(i % 251 for i in range(4 * BLOCK))
    packed = Reader(pyarrow.compress(data, codec="snappy", asbytes=True))
    assert block_places(packed, len(packed.data), len(data)) is None


@pytest.mark.parametrize(
    "packed",
    [
        b"\x80\x80\x08" + b"\xf4\x83\x00" + bytes(0x84) + b"\xfe\x84\x00" * 2100,  # too short elements
        b"\x8c\x80\x08" + b"\xf8\xff\xff\x01" + bytes(1 << 17) + b"\x2c" + bytes(12),  # a literal over two blocks
    ],
)
def test_blocks_that_depend_on_each_other_are_not_used(packed: bytes) -> None:
    size = {0x80: 1 << 17, 0x8C: (1 << 17) + 12}[packed[0]]
    assert block_places(Reader(packed), len(packed), size) is None


@pytest.mark.parametrize("packed", [b"", b"\xff" * 9, b"\x05", b"\x05\x10", b"\x06\x14abcdef"])
def test_damaged_data_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"ends early|another length|no snappy data"):
        block_places(Reader(packed), len(packed), 5)


@pytest.mark.parametrize("codec", ["snappy", "zstd", "gzip", "brotli", "lz4_raw"])
def test_other_data_is_refused(codec: str) -> None:
    packed = pyarrow.compress(b"sound" * 99, codec=codec, asbytes=True)
    assert decompress(packed, 495, codec) == b"sound" * 99
    with pytest.raises(ValueError, match=r"."):
        decompress(b"\xff" * 40, 495, codec)
