"""Sounds that a Parquet table holds as bytes: which column they are in, and their names."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.parts import WHOLE_FILE, Parts
from distill.data.clips.tables.chunks import Chunk, TableFile
from distill.data.clips.tables.columns import Columns, listed
from distill.data.clips.tables.paths import Names, Problem
from distill.data.errors import UserError
from distill.data.store.texts import FewTexts, Texts

_MAX_NAME = 1000  # characters of a name inside a table
_PLAIN_FILE = -1


@dataclass(frozen=True)
class Sound:
    """A column of sounds.

    Args:
        bytes: Name of its binary column in Parquet, such as "audio.bytes".
        has_path: Whether it has the path of each sound too.
        is_declared: Whether the file says that the column holds audio.
    """

    bytes: str
    has_path: bool
    is_declared: bool = False


def with_sounds(table: TableFile, columns: Columns) -> Columns:
    """Return the columns with that of the sounds as the only column of audio files, if the table holds sounds.

    Raises:
        UserError: several columns may hold the sounds.
    """
    names = [name for name in columns.paths if name in table.sounds]
    declared = [name for name, sound in table.sounds.items() if sound.is_declared]
    if not names and declared:
        names = declared
    elif not names and not columns.paths:
        names = [name for name in table.sounds if name not in columns.used]
        if len(names) > 1:
            raise UserError(f"{table.path}: the columns {listed(names)} hold bytes; rename that of the sounds to audio")
    return replace(columns, paths=(names[0],), sound=names[0]) if names else columns


def read_names(names: Names, chunk: Chunk, sound: str | None, prefix: str) -> tuple[list[str], dict[int, Problem]]:
    """Return the name of each row, and the problem of each row that has one.

    A row without a sound is the file of its path. The path of a sound is only its name: it says where the sound was
    when the table was made.

    Args:
        names: Reader of the paths of files.
        chunk: Rows of the table.
        sound: Column of the sounds. None: every row is a file.
        prefix: Begins the names of sounds.
    """
    if sound is None:
        return names.read(chunk.columns, len(chunk.lines))
    holds, paths = chunk.sounds[sound], chunk.columns[sound]
    found = [
        prefix + _name(path, line) if holds_sound else ""
        for path, line, holds_sound in zip(paths, chunk.lines, holds.tolist(), strict=True)
    ]
    files = np.flatnonzero(~holds).tolist()
    if not files:
        return found, {}
    of_files, wrong = names.read({sound: [paths[place] for place in files]}, len(files))
    for place, name in zip(files, of_files, strict=True):
        found[place] = name
    return found, {files[place]: problem for place, problem in wrong.items()}


def _name(path: Any, line: int) -> str:
    """Return the name of a sound: its path without "..", or the number of its row, from 1."""
    text = path.get("path") if isinstance(path, Mapping) else None
    parts = [part for part in str(text or "").replace("\\", "/").split("/") if part not in ("", ".", "..")]
    name = "/".join(parts)
    return name if name and len(name) <= _MAX_NAME and "\0" not in name else f"row {line}"


class Cells:
    """Which rows of a manifest are sounds in a table, and where. It grows with each chunk."""

    def __init__(self) -> None:
        self._tables: list[Path] = []
        self._columns: list[str] = []
        self._table_of, self._column_of, self._rows = array("i"), array("q"), array("q")

    def add(self, before: int, table: TableFile, sound: str, lines: Sequence[int], holds: NDArray[np.bool_]) -> None:
        """Add rows of a table.

        Args:
            before: Number of rows of the manifest before these.
            table: The table.
            sound: Its column of sounds.
            lines: Number of each row in the table, from 1.
            holds: Whether each row holds a sound. Otherwise it is a file.
        """
        self._pad(before)
        leaf = table.sounds[sound].bytes
        for value, values in ((table.path, self._tables), (leaf, self._columns)):
            if value not in values[-1:]:
                values.append(value)  # type: ignore[arg-type]
        number = len(self._columns) - 1
        self._table_of.frombytes(np.where(holds, len(self._tables) - 1, _PLAIN_FILE).astype(np.int32).tobytes())
        self._column_of.frombytes(np.where(holds, WHOLE_FILE - 1 - number, WHOLE_FILE).astype(np.int64).tobytes())
        self._rows.frombytes(np.where(holds, np.array(lines, np.int64) - 1, 0).astype(np.int64).tobytes())

    def build(self, paths: Texts | None, count: int) -> tuple[Texts | FewTexts | None, Parts | None]:
        """Return the path of the file of each row, and the part of it that holds the sound.

        Args:
            paths: Paths of the rows that are files. Of the others, they are not read.
            count: Number of rows.
        """
        if not self._tables:
            return paths, None
        self._pad(count)
        table_of = np.frombuffer(self._table_of, np.int32)
        parts = Parts(
            np.frombuffer(self._rows, np.int64), np.frombuffer(self._column_of, np.int64), tuple(self._columns)
        )
        tables = [str(table) for table in self._tables]
        if (table_of != _PLAIN_FILE).all() or paths is None:
            return FewTexts(tables, table_of), parts
        return Texts.of(
            path if number == _PLAIN_FILE else tables[number]
            for path, number in zip(paths, table_of.tolist(), strict=True)
        ), parts

    def _pad(self, count: int) -> None:
        """Add rows that are files, up to `count` rows."""
        missing = count - len(self._rows)
        self._table_of.extend([_PLAIN_FILE] * missing)
        self._column_of.extend([WHOLE_FILE] * missing)
        self._rows.extend([0] * missing)
