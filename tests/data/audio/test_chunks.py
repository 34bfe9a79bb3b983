"""A value of a row group costs its own bytes, not those of the group."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from distill.data.audio import chunks
from distill.data.audio.chunks import Chunk, NotPlain
from tests.data.audio.parquets import write

COUNT, SIZE = 40, 100_000
SOUNDS = [np.random.default_rng(number).bytes(SIZE) for number in range(COUNT)]


class File:
    """A file that counts the bytes that are read."""

    def __init__(self, path: Path) -> None:
        self.content, self.read = path.read_bytes(), 0
        chunk = pyarrow.parquet.read_metadata(path).row_group(0).column(0)
        start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        codec = None if chunk.compression == "UNCOMPRESSED" else chunk.compression.lower()
        self.chunk = Chunk(self, start, codec, chunk.num_values, 2)

    def __call__(self, offset: int, size: int) -> bytes:
        content = self.content[offset : offset + size]
        self.read += len(content)
        return content

    def value(self, number: int) -> bytes | None:
        place = self.chunk.locate(self, number)
        return None if place is None else place.read_at(place.first, place.size)

    def cost(self, number: int) -> int:
        """Return the bytes that reading a value takes."""
        self.read = 0
        assert self.value(number) == SOUNDS[number]
        return self.read


@pytest.mark.parametrize(
    ("writer", "most"),
    [
        ("not compressed", SIZE),
        ("not compressed, no dictionary", SIZE),
        ("default", SIZE + 2 * 66_000),  # the blocks of snappy that hold it
        ("version 2", SIZE + 2 * 66_000),
    ],
)
def test_a_value_costs_its_own_bytes(writer: str, most: int, tmp_path: Path) -> None:
    file = File(write(tmp_path / "a.parquet", SOUNDS, writer))
    file.cost(17)  # finds the places of all
    for number in (3, 39, 0, 18):
        assert SIZE <= file.cost(number) <= most


def test_finding_the_places_reads_little_of_pages_that_are_not_compressed(tmp_path: Path) -> None:
    file = File(write(tmp_path / "a.parquet", SOUNDS, "not compressed"))
    assert file.cost(17) < SIZE + 4 * COUNT + 20_000


def test_decompressed_pages_take_limited_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_unpacked_pages", OrderedDict())
    monkeypatch.setattr(chunks, "_MAX_UNPACKED_BYTES", 3 * SIZE)
    file = File(write(tmp_path / "a.parquet", SOUNDS, "zstd"))
    in_one_page = file.cost(17)
    assert file.cost(17) == 0
    assert in_one_page > SIZE
    for number in range(COUNT):
        file.value(number)
        kept = [len(page) for page in chunks._unpacked_pages.values()]
        assert len(kept) == 1 or sum(kept) <= 3 * SIZE


def test_other_encodings_are_left_to_pyarrow(tmp_path: Path) -> None:
    with pytest.raises(NotPlain):
        File(write(tmp_path / "a.parquet", SOUNDS, "lengths apart")).value(0)


def test_a_page_of_absurdly_many_values_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", SOUNDS)
    monkeypatch.setattr(chunks, "_MAX_VALUES", COUNT - 1)
    with pytest.raises(ValueError, match="no page at byte 4"):
        File(path)
