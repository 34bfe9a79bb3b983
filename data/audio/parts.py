"""Sounds inside containers: a member of a tar or a cell of a Parquet file, opened like a file.

No container is unpacked: a clip costs the bytes of its own sound, wherever it lies in the container.
"""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import AudioError, first_line

MAX_BYTES_IN_MEMORY = 4 << 20  # a longer sound is read piece by piece, while it is decoded
WHOLE_FILE = -1  # in `Parts.sizes`; lower numbers are cells of `Parts.columns`

ReadAt = Callable[[int, int], bytes]
"""Returns up to `size` bytes from `offset` on; fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Member:
    """A range of bytes of a file, such as a member of a tar.

    Args:
        first: Offset of the first byte.
        size: Number of bytes.
    """

    first: int
    size: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a binary column of a Parquet file.

    Args:
        column: Name of the column. Names of nested columns are joined by dots: "audio.bytes".
        row: Number of the row in the file, from 0.
    """

    column: str
    row: int


Part = Member | Cell


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of many clips, as columns. None: the sound is the whole file.

    Args:
        firsts: `Member.first` or `Cell.row`, int64. Shape (clips,).
        sizes: `Member.size`, int64. -1: the whole file. -2 - k: a cell of `columns[k]`. Shape (clips,).
        columns: Names of the Parquet columns.
    """

    firsts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.firsts)

    def __getitem__(self, clip: int) -> Part | None:
        first, size = int(self.firsts[clip]), int(self.sizes[clip])
        if size >= 0:
            return Member(first, size)
        return None if size == WHOLE_FILE else Cell(self.columns[WHOLE_FILE - 1 - size], first)

    def __iter__(self) -> Iterator[Part | None]:
        return (self[clip] for clip in range(len(self)))

    def take(self, numbers: NDArray[np.integer]) -> Parts:
        """Return the parts of the clips at `numbers`, in this order."""
        return Parts(self.firsts[numbers], self.sizes[numbers], self.columns)

    @classmethod
    def of(cls, parts: Iterable[Part | None]) -> Parts | None:
        """Return the columns of `parts`, which are read once. None if every sound is a whole file."""
        builder = PartsBuilder()
        for part in parts:
            builder.append(part)
        return builder.build()

    @classmethod
    def cells(cls, column: str, rows: NDArray[np.int64]) -> Parts:
        """Return the cells of one column at `rows`."""
        return cls(rows, np.full(len(rows), WHOLE_FILE - 1, np.int64), (column,))


class PartsBuilder:
    """Parts that are collected one after another."""

    def __init__(self) -> None:
        self._firsts, self._sizes = array("q"), array("q")
        self._columns: dict[str, int] = {}
        self._any = False

    def append(self, part: Part | None) -> None:
        """Add the part of the next clip."""
        if isinstance(part, Cell):
            first, size = part.row, WHOLE_FILE - 1 - self._columns.setdefault(part.column, len(self._columns))
        else:
            first, size = (0, WHOLE_FILE) if part is None else (part.first, part.size)
        self._firsts.append(first)
        self._sizes.append(size)
        self._any = self._any or part is not None

    def build(self) -> Parts | None:
        """Return the columns, or None if every sound is a whole file. The builder must not be used any more."""
        if not self._any:
            return None
        firsts, sizes = (np.frombuffer(column, np.int64) for column in (self._firsts, self._sizes))
        return Parts(firsts, sizes, tuple(self._columns))


class Range(NamedTuple):
    """Where the bytes of a sound lie: `size` bytes from `first` on, as `read_at` counts them."""

    read_at: ReadAt
    first: int
    size: int


def open_part(container: BinaryIO, part: Part) -> BinaryIO:
    """Open a sound inside an open container. Closing the sound closes the container.

    Args:
        container: The container. It is closed if this function raises.
        part: Where the sound lies.

    Raises:
        AudioError: the part is empty, or lies behind the end of the container.
    """
    try:
        place = _place(container, part)
        if place.size == 0:
            raise AudioError("empty_file", "0 bytes")
        if place.size <= MAX_BYTES_IN_MEMORY:
            content = place.read_at(place.first, place.size)
            if len(content) < place.size:
                raise AudioError("truncated", f"the container holds {len(content)} of {place.size} bytes of the sound")
            container.close()
            return io.BytesIO(content)
        return io.BufferedReader(PartReader(container, place), 1 << 16)
    except BaseException:
        container.close()
        raise


def reader_of(container: BinaryIO) -> tuple[ReadAt, int]:
    """Return a function that reads an open file at any place, and the number of bytes of the file.

    The position of the file, from which libsndfile reads, does not change.
    """
    try:
        descriptor = container.fileno()
    except OSError:  # bytes in memory, or a file of another machine
        position = container.tell()
        size = container.seek(0, os.SEEK_END)
        container.seek(position)
        return _seek_and_read(container), size
    return (lambda offset, size: os.pread(descriptor, size, offset)), os.fstat(descriptor).st_size


def _seek_and_read(container: BinaryIO) -> ReadAt:
    def read_at(offset: int, size: int) -> bytes:
        position = container.tell()
        container.seek(offset)
        content = container.read(size)
        container.seek(position)
        return content

    return read_at


def _place(container: BinaryIO, part: Part) -> Range:
    if isinstance(part, Cell):
        from distill.data.audio.cells import locate  # here, since few data sets have cells

        return locate(container, part.column, part.row)
    read_at, size = reader_of(container)
    if not 0 <= part.first <= part.first + part.size <= size:
        raise AudioError("truncated", f"the container ends at byte {size}, before byte {part.first + part.size}")
    return Range(read_at, part.first, part.size)


class PartReader(io.RawIOBase):
    """A part of a container as a file that can be read and sought. Memory does not depend on its length.

    libsndfile reads by callbacks, which cannot raise. A failed read looks like the end, and `close` raises the error.

    Args:
        container: The open container. It is closed with this object.
        place: Where the bytes lie.
    """

    def __init__(self, container: BinaryIO, place: Range) -> None:
        super().__init__()
        self._container, self._place, self._position = container, place, 0
        self._fault: AudioError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, which may lie behind the end, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._place.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer and return the number of bytes; 0 at the end."""
        wanted = max(0, min(len(target), self._place.size - self._position))
        try:
            content = self._place.read_at(self._place.first + self._position, wanted)
        except AudioError as error:
            self._fault, content = error, b""
        except OSError as error:
            self._fault, content = AudioError("unreadable", first_line(error)), b""
        target[: len(content)] = content
        self._position += len(content)
        return len(content)

    def close(self) -> None:
        """Close the container too. Raises AudioError if a read failed."""
        self._container.close()
        super().close()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
