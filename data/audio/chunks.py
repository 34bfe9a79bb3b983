"""The values of one binary column in one row group of a Parquet file, found one by one."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.audio import pages, snappy
from distill.data.audio.parts import Range, ReadAt

_HEADER_BYTES = (1 << 9, 1 << 13, 1 << 20)  # read for a page header; more if the first are not enough
_MAX_VALUES = 1 << 22  # of a page; a page of sounds has a thousand
_MAX_UNPACKED_BYTES = 64 << 20  # decompressed pages that a process keeps; the newest is kept in any case


class NotPlain(ValueError):
    """The values are in an encoding that only pyarrow reads."""


class Content:
    """The bytes of a page, as they are stored.

    Args:
        offset: Where they begin in the file.
        stored: Their number in the file.
        size: Their number after decompression.
        codec: Name of the compression, as pyarrow names it. None: none.
    """

    def __init__(self, offset: int, stored: int, size: int, codec: str | None) -> None:
        self.offset, self.stored, self.size, self.codec = offset, stored, size, codec
        self._blocks: NDArray[np.int64] | None = None
        self._has_blocks = codec == "snappy"  # as far as known

    def reader(self, read_at: ReadAt) -> ReadAt:
        """Return a function that reads the decompressed bytes at any place.

        Args:
            read_at: Reads the file.
        """

        def stored_at(offset: int, size: int) -> bytes:
            return read_at(self.offset + offset, max(0, min(size, self.stored - offset)))

        if self.codec is None:
            return stored_at
        if self._has_blocks and self._blocks is None:
            self._blocks = snappy.block_places(stored_at, self.stored, self.size)
            self._has_blocks = self._blocks is not None
        if self._blocks is not None:
            return snappy.block_reader(stored_at, self._blocks, self.size)
        return lambda offset, size: _unpacked(self, stored_at)[offset : offset + size]


_unpacked_pages: OrderedDict[Content, bytes] = OrderedDict()


def _unpacked(content: Content, stored_at: ReadAt) -> bytes:
    """Return a whole page after decompression. A process keeps the last ones."""
    if content not in _unpacked_pages:
        _unpacked_pages[content] = snappy.decompress(stored_at(0, content.stored), content.size, content.codec or "")
        while len(_unpacked_pages) > 1 and sum(map(len, _unpacked_pages.values())) > _MAX_UNPACKED_BYTES:
            _unpacked_pages.popitem(last=False)
    _unpacked_pages.move_to_end(content)
    return _unpacked_pages[content]


class _Page(NamedTuple):
    """A data page: its header, the number of its first value in the row group, and its parts in the file.

    The levels of a page of version 2 lie before its content; those of other pages are in the content, and are (0, 0).
    """

    header: pages.PageHeader
    first: int
    levels: tuple[int, int]
    content: Content


@dataclass(frozen=True)
class _Places:
    """Where the values of a page lie.

    Args:
        content: The page that holds their bytes: this page, or the dictionary.
        starts: Start of each value in the content, and the end of the last plus 4, int64. Shape (values + 1,).
        numbers: Number of each row's value; -1 is null. Shape (rows,).
    """

    content: Content
    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]


class Chunk:
    """A binary column of a row group. It remembers where values lie, but not the values.

    Args:
        read_at: Reads the file.
        start: Where the first page begins.
        codec: Name of the compression. None: none.
        values: Number of values, nulls included.
        max_level: Highest definition level: that of a value that is not null.

    Raises:
        ValueError: the pages are damaged.
    """

    def __init__(self, read_at: ReadAt, start: int, codec: str | None, values: int, max_level: int) -> None:
        self._codec, self._max_level = codec, max_level
        self._pages: list[_Page] = []
        self._dictionary: tuple[Content, int] | None = None  # with the number of its values
        self._dictionary_starts: NDArray[np.int64] | None = None
        self._places: dict[int, _Places] = {}
        found = 0
        while found < values:
            header = _header(read_at, start)
            if header.values > _MAX_VALUES or header.levels > header.stored:
                raise ValueError(f"no page at byte {start}")
            page = self._page(header, start + header.length, found)
            if header.kind == pages.DICTIONARY:
                self._dictionary = (page.content, header.values)
            elif header.kind in (pages.DATA, pages.DATA_V2):
                self._pages.append(page)
                found += header.values
            start += header.length + header.stored
        self._firsts = [page.first for page in self._pages]

    def locate(self, read_at: ReadAt, number: int) -> Range | None:
        """Return where a value lies. None: it is null.

        Raises:
            NotPlain: the values have another encoding.
            ValueError, IndexError: the page is damaged.
        """
        place = bisect_right(self._firsts, number) - 1
        if place not in self._places:
            self._places[place] = self._find(read_at, self._pages[place])
        places = self._places[place]
        value = int(places.numbers[number - self._firsts[place]])
        if value < 0:
            return None
        start = int(places.starts[value])
        return Range(places.content.reader(read_at), start, int(places.starts[value + 1]) - 4 - start)

    def _page(self, header: pages.PageHeader, offset: int, first: int) -> _Page:
        codec = self._codec if header.compressed else None
        levels = header.levels
        content = Content(offset + levels, header.stored - levels, header.size - levels, codec)
        return _Page(header, first, (offset, levels), content)

    def _find(self, read_at: ReadAt, page: _Page) -> _Places:
        """Find the values of a page."""
        read = page.content.reader(read_at)
        count, begin = page.header.values, 0
        present = np.ones(count, bool)
        if self._max_level:
            width = self._max_level.bit_length()
            if page.header.kind == pages.DATA:
                size = int.from_bytes(read(0, 4), "little")
                begin, levels = 4 + size, read(4, size)
            else:
                levels = read_at(*page.levels)
            present = pages.decode_hybrid(levels, width, count) == self._max_level
        numbers = np.where(present, np.cumsum(present) - 1, -1)
        values = int(present.sum())
        if page.header.encoding == pages.PLAIN:
            return _Places(page.content, _starts(read, begin, page.content.size, values), numbers)
        if page.header.encoding in (pages.PLAIN_DICTIONARY, pages.RLE_DICTIONARY) and self._dictionary:
            content, size = self._dictionary
            if self._dictionary_starts is None:
                self._dictionary_starts = _starts(content.reader(read_at), 0, content.size, size)
            data = read(begin, page.content.size - begin)
            entries = pages.decode_hybrid(data[1:], data[0], values) if values else np.zeros(1, np.int64)
            return _Places(content, self._dictionary_starts, np.where(present, entries[numbers], -1))
        raise NotPlain(f"values of encoding {page.header.encoding}")


def _header(read_at: ReadAt, place: int) -> pages.PageHeader:
    """Read the header of the page at a place."""
    for size in _HEADER_BYTES:
        try:
            return pages.parse_header(read_at(place, size))
        except IndexError:
            continue
    raise ValueError(f"no page at byte {place}")


def _starts(read: ReadAt, place: int, end: int, count: int) -> NDArray[np.int64]:
    """Return where values begin that lie one after another, each after the 4 bytes of its length."""
    starts = np.empty(count + 1, np.int64)
    for number in range(count):
        starts[number] = place + 4
        place += 4 + int.from_bytes(read(place, 4), "little")
        if place > end:
            raise ValueError("a value is longer than its page")
    starts[count] = place + 4
    return starts
