"""Read the clips of tables, column by column."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.formats import AUDIO_SUFFIXES
from distill.data.audio.remote import Address
from distill.data.clips.manifest import Category, Manifest, Rows
from distill.data.clips.summary import Notes
from distill.data.clips.tables.chunks import Chunk, TableFile
from distill.data.clips.tables.columns import Columns, find_columns, listed, several_labels
from distill.data.clips.tables.labels import Cell, as_cell, parse_cells
from distill.data.clips.tables.opening import open_table
from distill.data.clips.tables.paths import Names, Problem
from distill.data.clips.tables.repeats import join_repeats
from distill.data.clips.tables.sounds import Cells, read_names, with_sounds
from distill.data.clips.tables.windows import windows_of
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import TextsBuilder

_MAX_LISTED = 100_000  # rows that are listed as set aside; more are only counted
_SPLITS = {
    "training": ("training", "train", "trainset", "trn", "tr"),
    "validation": ("validation", "valid", "valset", "val", "dev"),
    "test": ("test", "testing", "tests", "testset", "tst", "eval", "evaluation"),
}


@dataclass(frozen=True)
class Listing:
    """A table, and what its place says about its clips.

    Args:
        table: The file.
        folder: Folder below the root that its paths are relative to, with "/" at its end. Empty: the root.
        split: Split of its clips, if it has no column of splits.
    """

    table: Path
    folder: str = ""
    split: str = ""


def read_table(table: Path, root: Path | Address | None = None, label: str = "", split: str = "") -> Manifest:
    """Read the clips of a table. Rows that cannot be used are set aside.

    Args:
        table: A CSV, TSV, JSONL or Parquet table, a selection table of Raven, or a label track of Audacity.
        root: Folder that paths are relative to and that all files must lie in, or its address. None: the folder of the
            table.
        label: Column of the labels. Empty: found by its name.
        split: Column of the splits or folds. Empty: found by its name.

    Raises:
        UserError: the file is not a table, has no column of audio files or not a named one, an id occurs twice, or no
            row can be used. The message names the line.
    """
    return read_listings([Listing(table)], table, root, label, split)


def read_listings(
    listings: Sequence[Listing], source: Path, root: Path | Address | None = None, label: str = "", split: str = ""
) -> Manifest:
    """Read the clips of several tables as one manifest.

    Args:
        listings: The tables.
        source: The table, or the folder of the tables.
        root: As for `read_table`. None: the folder of the table, or `source`.
        label: As for `read_table`.
        split: As for `read_table`.

    Raises:
        UserError: as for `read_table`; or the tables have their labels in different columns.
    """
    folder = root or (source if source.is_dir() else source.parent)
    reading = _Reading(source, folder, is_given=root is not None)
    for listing in listings:
        reading.read(listing, label, split)
    return reading.manifest()


def split_name(name: str) -> str:
    """Return the standard name of a split: "training", "validation" or "test". Other names stay, as folds."""
    lower = name.strip().lower()
    return next((split for split, names in _SPLITS.items() if lower in names), name.strip())


@dataclass(frozen=True)
class _Table:
    """A table that is being read."""

    file: TableFile
    columns: Columns
    names: Names
    split: str
    prefix: str  # of the names of sounds that are in the table


class _Reading:
    """The columns of a manifest, which grow with each chunk of a table.

    Args:
        source: The table, or the folder of the tables.
        root: Folder of the audio, or its address.
        is_given: Whether the user named the root.
    """

    def __init__(self, source: Path, root: Path | Address, is_given: bool) -> None:
        self.source, self.root, self.is_given = source, root, is_given
        self._tables: list[_Table] = []
        self._firsts: list[int] = []  # number of the first row of each table
        self._ids = TextsBuilder()
        # None: the ids are the paths below the root
        self._paths = TextsBuilder() if isinstance(root, Address) else None
        self._starts, self._durations, self._lines = array("d"), array("d"), array("q")
        self._labels: dict[Cell, int] = {}
        self._splits: dict[str, int] = {}
        self._domains: dict[str, int] = {}
        self._label_codes, self._split_codes, self._domain_codes = array("i"), array("i"), array("i")
        self._cells = Cells()
        self._set_aside: list[SetAside] = []
        self._not_listed = 0

    def read(self, listing: Listing, label: str, split: str) -> None:
        """Add the rows of a table."""
        file = open_table(listing.table)
        columns = with_sounds(file, find_columns(listing.table, file.header, label, split))
        if self._tables and columns.label != (first := self._tables[0]).columns.label:
            raise UserError(
                f"{file.path}: the column of labels is {columns.label}, but that of {first.file.path.name} is "
                f"{first.columns.label}; --label COLUMN names one"
            )
        recording = ""
        if not columns.paths:
            try:
                recording = _recording(file, Path(self.root), listing.folder, columns)
            except UserError as error:
                if listing.table == self.source:
                    raise
                self._set_aside.append(SetAside(listing.table.name, "no_recording", str(error)))
                return
        names = Names(self.root, listing.folder, columns.paths, recording, self.is_given)
        prefix = "" if listing.table == self.source else f"{os.path.relpath(listing.table, self.source)}/"
        self._tables.append(_Table(file, columns, names, listing.split, prefix))
        self._firsts.append(len(self._ids))
        if columns.has_own_ids and self._paths is None:
            self._paths = TextsBuilder()
            self._paths.extend(names.paths(list(self._ids.build())))
        for chunk in file.chunks(columns.used):
            self._add(self._tables[-1], chunk)

    def _add(self, table: _Table, chunk: Chunk) -> None:
        """Add the rows of a chunk."""
        columns, count = table.columns, len(chunk.lines)
        names, problems = read_names(table.names, chunk, columns.sound, table.prefix)
        starts, durations, wrong = windows_of(chunk.columns, columns, count)
        problems = wrong | problems
        labels: Sequence[Cell] = [""] * count
        if columns.label is not None:
            labels, wrong = _cells(chunk.columns[columns.label], table.file.classes.get(columns.label, ()))
            problems = wrong | problems
        splits: Sequence[str] = [table.split] * count
        if columns.split is not None:
            splits = _texts(chunk.columns[columns.split], table.file.classes.get(columns.split, ()))
        ids = _ids(columns, chunk, names, starts, durations)
        for line, reason in chunk.broken.items():
            self._put_aside(table, "", line, ("bad_row", reason))
        for place, problem in sorted(problems.items()):
            self._put_aside(table, names[place], chunk.lines[place], problem)
        good = [place for place in range(count) if place not in problems] if problems else None
        kept = slice(None) if good is None else np.array(good, np.int64)
        self._add_files(table, _at(names, good), _at(chunk.lines, good), chunk.sounds, kept)
        self._ids.extend(_at(ids, good))
        self._lines.extend(_at(chunk.lines, good))
        self._starts.frombytes(starts[kept].tobytes())
        self._durations.frombytes(durations[kept].tobytes())
        _extend(self._labels, self._label_codes, _at(labels, good))
        _extend(self._splits, self._split_codes, _at(splits, good))
        if columns.domain is not None:
            domains = _texts(chunk.columns[columns.domain], table.file.classes.get(columns.domain, ()))
            domains = _at(domains, good)
            self._add_unknown_domains(len(self._ids) - len(domains))
            _extend(self._domains, self._domain_codes, domains)

    def _add_unknown_domains(self, count: int) -> None:
        """Add unknown domains for the first `count` rows, where tables have no column of domains."""
        _extend(self._domains, self._domain_codes, [""] * (count - len(self._domain_codes)))

    def _add_files(
        self,
        table: _Table,
        names: Sequence[str],
        lines: Sequence[int],
        sounds: Mapping[str, NDArray[np.bool_]],
        kept: slice | NDArray[np.int64],
    ) -> None:
        """Add the files of rows with these names and lines: the rows of a chunk that are kept."""
        if self._paths is None:
            return
        paths = table.names.paths(names)
        if table.columns.sound is not None:
            holds = sounds[table.columns.sound][kept]
            self._cells.add(len(self._ids), table.file, table.columns.sound, lines, holds)
            paths = ["" if in_table else path for path, in_table in zip(paths, holds.tolist(), strict=True)]
        self._paths.extend(paths)

    def _put_aside(self, table: _Table, name: str, line: int, problem: Problem) -> None:
        """Note a row that cannot be used."""
        if len(self._set_aside) == _MAX_LISTED:
            self._not_listed += 1
            return
        where = self._where(table, line)
        self._set_aside.append(SetAside(name or where, problem[0], f"{where}: {problem[1]}"))

    def _where(self, table: _Table, line: int) -> str:
        """Return the place of a row in words."""
        place = f"{table.file.unit} {line}"
        return (
            place if len(self._tables) == 1 and table.file.path == self.source else f"{table.file.path.name}, {place}"
        )

    def _where_is(self, number: int) -> str:
        """Return the place of the clip `number` in words."""
        table = self._tables[bisect_right(self._firsts, number) - 1]
        return self._where(table, self._lines[number])

    def manifest(self) -> Manifest:
        """Return the clips with the notes.

        Raises:
            UserError: no row can be used, or an id occurs twice.
        """
        count = len(self._ids)
        if not count and self._set_aside:
            wrong = len(self._set_aside) + self._not_listed
            others = f" (none of its {wrong:,} rows can be used)" if wrong > 1 else ""
            raise UserError(f"{self.source}, {self._set_aside[0].detail}{others}")
        label = self._tables[0].columns.label
        parsed = parse_cells(self.source, label or "", list(self._labels), several_labels(label or ""))
        if has_domains := any(table.columns.domain is not None for table in self._tables):
            self._add_unknown_domains(count)
        paths, parts = self._cells.build(None if self._paths is None else self._paths.build(), count)
        rows = Rows(
            self._ids.build(),
            paths,
            Path(self.root),
            np.frombuffer(self._starts, np.float64),
            np.frombuffer(self._durations, np.float64),
            _category(parsed.labels, self._label_codes),
            _category([(split_name(name),) for name in self._splits], self._split_codes),
            Category(((),), np.zeros(count, np.int32)),
            parts,
            _category([(name.strip(),) for name in self._domains], self._domain_codes) if has_domains else None,
        )
        has_ids = any(table.columns.id is not None for table in self._tables)
        joined = join_repeats(rows, self.source, self._where_is, has_ids)
        return Manifest(self.source, joined.rows, self._notes((*parsed.remarks, *joined.remarks), joined.set_aside))

    def _notes(self, remarks: Sequence[str], set_aside: Sequence[SetAside]) -> Notes:
        """Return what was understood beside the clips."""
        first, several = self._tables[0], len(self._tables) > 1
        of_tables = [(*table.file.remarks, *table.names.remarks()) for table in self._tables]
        unread = (name for table in self._tables for name in table.file.header if name not in table.columns.used)
        return Notes(
            layout=f"{len(self._tables):,} {first.file.layout}s in" if several else first.file.layout,
            labels=f"column {first.columns.label!r}" if first.columns.label else "no column of labels",
            left_out={"more rows that cannot be used": self._not_listed},
            set_aside=(*self._set_aside, *set_aside),
            unread_columns=tuple(dict.fromkeys(unread)),
            remarks=tuple(dict.fromkeys([remark for several in of_tables for remark in several] + list(remarks))),
            folder_labels=False,
        )


def _recording(file: TableFile, root: Path, folder: str, columns: Columns) -> str:
    """Return the name of the recording that a table without a column of audio files belongs to.

    It has the table's name up to one of its dots: "site1.Table.1.selections.txt" belongs to "site1.wav".

    Raises:
        UserError: there is none, or the table has no times.
    """
    if columns.start is None or columns.end is None:
        raise UserError(
            f"{file.path}: no column of audio files, such as path, file or filename; "
            f"the columns are {listed(file.header)}; is the header missing?"
        )
    stem = file.path.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        for suffix in sorted(AUDIO_SUFFIXES):
            for name in (stem + suffix, stem + suffix.upper()):
                if (root / folder / name).is_file():
                    return name
    raise UserError(f"{file.path}: no column of audio files, and no recording of its name in {root / folder}")


def _ids(
    columns: Columns,
    chunk: Chunk,
    names: Sequence[str],
    starts: NDArray[np.float64],
    durations: NDArray[np.float64],
) -> Sequence[str]:
    """Return the id of each row: of its own column, or the file, with "@start" if it is a part of the file."""
    ids = names
    if columns.has_windows:
        is_part = (starts != 0) | ~np.isnan(durations)
        ids = [
            f"{name}@{start:g}" if part else name
            for name, start, part in zip(names, starts.tolist(), is_part.tolist(), strict=True)
        ]
    if columns.id is not None:
        ids = [str(own or other) for own, other in zip(chunk.columns[columns.id], ids, strict=True)]
    return ids


def _cells(values: Sequence[Any], classes: Sequence[str]) -> tuple[Sequence[Cell], dict[int, Problem]]:
    """Return the cells of a column of labels, and the problem of each row that has one."""
    if set(map(type, values)) <= {str}:  # in one go
        return values, {}
    cells: list[Cell] = []
    problems: dict[int, Problem] = {}
    for place, value in enumerate(values):
        try:
            cells.append(as_cell(value, classes))
        except ValueError as error:
            cells.append("")
            problems[place] = ("bad_row", str(error))
    return cells, problems


def _texts(values: Sequence[Any], classes: Sequence[str]) -> Sequence[str]:
    """Return the values of a column of splits or domains as texts. None and NaN mean none.

    Args:
        values: Texts or numbers.
        classes: Names of the values, if the column holds their numbers.
    """
    if set(map(type, values)) <= {str}:  # in one go
        return values
    texts = ["" if value is None or value != value else str(value) for value in values]
    names = {str(number): name for number, name in enumerate(classes)}
    return [names.get(text, text) for text in texts]


def _at(values: Sequence[Any], places: Iterable[int] | None) -> Sequence[Any]:
    """Return the values at some places; None: all."""
    return values if places is None else [values[place] for place in places]


def _extend(numbers: dict[Any, int], codes: array[int], values: Sequence[Any]) -> None:
    """Add the number of each value to `codes`. A new value gets the next number."""
    for value in dict.fromkeys(values):
        numbers.setdefault(value, len(numbers))
    codes.frombytes(np.fromiter(map(numbers.__getitem__, values), np.int32, len(values)).tobytes())


def _category(values: Sequence[tuple[str, ...]], codes: array[int]) -> Category:
    """Return a column of values, of which each is listed once."""
    numbers: dict[tuple[str, ...], int] = {}
    new = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int32)
    return Category(tuple(numbers), new[np.frombuffer(codes, np.int32)])
