"""Where the sound in a cell of a Parquet file lies.

The first sound of a row group finds the pages of the group. Then each sound is read alone: as it is from pages that are
not compressed, by its blocks from snappy, and from its decompressed page otherwise.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import OrderedDict
from typing import Any, BinaryIO

from distill.data.audio.chunks import Chunk, NotPlain
from distill.data.audio.parts import Range, ReadAt, reader_of
from distill.data.errors import AudioError, first_line

_MAX_COLUMNS = 4096  # files that a process remembers
_CODECS = {"UNCOMPRESSED": None, "SNAPPY": "snappy", "ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli"}
_DAMAGES = (ValueError, IndexError, OverflowError, MemoryError, OSError)


def locate(container: BinaryIO, column: str, row: int) -> Range:
    """Return where the bytes of a cell lie.

    Args:
        container: An open Parquet file.
        column: Name of a binary column.
        row: Number of the row in the file.

    Raises:
        AudioError: the cell is empty, or the file is damaged.
    """
    read_at, _ = reader_of(container)
    try:
        place = _column(container, column).locate(container, read_at, row)
    except _DAMAGES as error:
        raise AudioError("malformed", f"row {row} of the Parquet file: {first_line(error)}") from error
    if place is None:
        raise AudioError("missing", f"row {row} of the Parquet file has no sound")
    return place


class _Column:
    """A binary column of a Parquet file, which need not be open all the time.

    Args:
        container: The open file.
        name: Name of the column.

    Raises:
        ValueError, OSError: the file is no Parquet file or has no such column.
    """

    def __init__(self, container: BinaryIO, name: str) -> None:
        metadata = _footer(container)
        schema = metadata.schema
        number = next((n for n in range(len(schema)) if schema.column(n).path == name), None)
        if number is None or schema.column(number).physical_type != "BYTE_ARRAY":
            raise ValueError(f"no column {name!r} of bytes")
        if schema.column(number).max_repetition_level:
            raise ValueError(f"the column {name!r} holds lists")
        self._name, self._max_level = name, schema.column(number).max_definition_level
        self._ends: list[int] = []
        self._descriptions: list[tuple[int, str, int]] = []  # start, compression and values of each row group's chunk
        for group in range(metadata.num_row_groups):
            chunk = metadata.row_group(group).column(number)
            starts = [chunk.data_page_offset, *([chunk.dictionary_page_offset] if chunk.has_dictionary_page else [])]
            self._descriptions.append((min(starts), chunk.compression, chunk.num_values))
            self._ends.append((self._ends or [0])[-1] + metadata.row_group(group).num_rows)
        self._chunks: dict[int, Chunk] = {}

    def locate(self, container: BinaryIO, read_at: ReadAt, row: int) -> Range | None:
        """Return where the bytes of a row lie. None: it has none. Raises ValueError for a damaged file."""
        group = bisect_right(self._ends, row)
        inside = row - (self._ends[group - 1] if group else 0)
        if not 0 <= row < self._ends[-1]:
            raise ValueError(f"the file has {self._ends[-1]} rows")
        start, compression, values = self._descriptions[group]
        try:
            if compression not in _CODECS:
                raise NotPlain(compression)
            if group not in self._chunks:
                self._chunks[group] = Chunk(read_at, start, _CODECS[compression], values, self._max_level)
            return self._chunks[group].locate(read_at, inside)
        except NotPlain:
            return _from_group(container, group, self._name, inside)


_columns: OrderedDict[tuple[object, ...], _Column] = OrderedDict()


def _column(container: BinaryIO, name: str) -> _Column:
    """Return a column of an open file. A process reads the footer of a file once."""
    key = (*_identity(container), name)
    if key not in _columns:
        _columns[key] = _Column(container, name)
        if len(_columns) > _MAX_COLUMNS:
            _columns.popitem(last=False)
    _columns.move_to_end(key)
    return _columns[key]


def _identity(container: BinaryIO) -> tuple[object, ...]:
    """Return what differs between files, and between a file and its next version."""
    status = os.fstat(container.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _footer(container: BinaryIO) -> Any:
    """Return the metadata of a Parquet file. Raises ValueError."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_metadata(container)
    except pyarrow.ArrowException as error:
        raise ValueError(first_line(error)) from error


_last_group: tuple[tuple[object, ...], Any] = ((), None)


def _from_group(container: BinaryIO, group: int, name: str, row: int) -> Range | None:
    """Return a value of a row group that pyarrow decodes as a whole. A process keeps the last group."""
    global _last_group
    import pyarrow
    import pyarrow.parquet

    key = (*_identity(container), group, name)
    if _last_group[0] != key:
        try:
            # Threads of pyarrow would wait for ever in a loader process, which is a fork.
            file = pyarrow.parquet.ParquetFile(container, pre_buffer=False)
            table = file.read_row_group(group, columns=[name], use_threads=False)
        except pyarrow.ArrowException as error:
            raise ValueError(first_line(error)) from error
        while any(pyarrow.types.is_struct(kind) for kind in table.schema.types):
            table = table.flatten()
        _last_group = (key, table.column(0))
    value = _last_group[1][row].as_buffer()
    return (
        None if value is None else Range(lambda offset, size: value[offset : offset + size].to_pybytes(), 0, value.size)
    )
