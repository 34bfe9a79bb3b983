"""The parts in which a table is read: chunks of columns. They bound the memory, whatever a file holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError

if TYPE_CHECKING:  # it reads chunks
    from distill.data.clips.tables.sounds import Sound

CHUNK_ROWS = 1 << 16
CHUNK_CHARACTERS = 1 << 24  # a chunk of long rows has fewer rows
MAX_COLUMNS = 10_000


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of a table.

    Args:
        lines: Number of each row: its line, or for Parquet its row, from 1.
        columns: Values of the columns that were asked for, each as long as `lines`.
        broken: Lines that are not rows, with the reason.
        sounds: Of each column of sounds, whether a row holds one. The values of such a column are the paths.
    """

    lines: Sequence[int]
    columns: Mapping[str, Sequence[Any]]
    broken: Mapping[int, str] = field(default_factory=dict)
    sounds: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class TableFile:
    """A table that is open for reading.

    Args:
        path: The file.
        header: Names of all columns.
        chunks: Reads the file from its start, and yields the named columns.
        unit: Word for a row's number in messages: "line" or "row".
        layout: Kind of the table, in words.
        remarks: Choices of the reader, each in words.
        classes: Names of the classes of columns that hold their numbers, by the name of the column.
        sounds: Columns that hold sounds as bytes.

    Raises:
        UserError: there are too many columns.
    """

    path: Path
    header: tuple[str, ...]
    chunks: Callable[[Sequence[str]], Iterator[Chunk]]
    unit: str = "line"
    layout: str = "table"
    remarks: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sounds: Mapping[str, Sound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.header) > MAX_COLUMNS:
            raise UserError(f"{self.path}: has {len(self.header):,} columns; must be at most {MAX_COLUMNS:,}")


def chunks_of(rows: Iterator[tuple[int, Sequence[Any] | str]], columns: Sequence[str]) -> Iterator[Chunk]:
    """Yield the chunks of rows that are read one after another.

    Args:
        rows: Number of each line, and its values of `columns`, or the reason why it is not a row.
        columns: Names of the columns.
    """
    while True:
        lines: list[int] = []
        values: list[Sequence[Any]] = []
        broken: dict[int, str] = {}
        characters = 0
        for number, row in rows:
            if isinstance(row, str):
                broken[number] = row
            else:
                lines.append(number)
                values.append(row)
                characters += sum(len(value) for value in row if isinstance(value, str))
            if len(lines) + len(broken) >= CHUNK_ROWS or characters > CHUNK_CHARACTERS:
                break
        if not lines and not broken:
            return
        columnwise = list(zip(*values, strict=True)) if values else [()] * len(columns)
        yield Chunk(lines, dict(zip(columns, columnwise, strict=True)), broken)
