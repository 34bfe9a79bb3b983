"""The list of clips of a data set: one row per clip, with its file, window, labels and split.

Ten million clips must fit in memory, so a manifest keeps columns and builds a row when it is read.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.parts import Part, Parts, PartsBuilder
from distill.data.audio.remote import Address, is_address
from distill.data.clips.summary import Notes
from distill.data.clips.views import View, ViewColumn
from distill.data.store.texts import FewTexts, Texts

_BLOCK = 4096  # rows that are read together


@dataclass(frozen=True)
class Row:
    """One clip.

    Args:
        id: Stable and unique name: the path below the root, with "@start" if the clip is a window of a file.
        path: The file, or its address on another machine.
        start: Start of the clip within the file, in seconds.
        duration: Length of the clip, in seconds. None means to the end of the file.
        labels: Names of the classes that are present. Empty if none is known.
        split: Name of the split ("training", "validation", "test" or the number of a fold). "" if none is given.
        annotated: Labels that were annotated, present or absent; empty: all were.
        part: The part of the file that holds the sound. None: the whole file.
        domain: Kind of sound, by which teachers are weighted. "" if it is unknown.
        view: Changes of the samples. None: there are none.
    """

    id: str
    path: Path | Address
    start: float = 0.0
    duration: float | None = None
    labels: tuple[str, ...] = ()
    split: str = ""
    annotated: tuple[str, ...] = ()
    part: Part | None = None
    domain: str = ""
    view: View | None = None


@dataclass(frozen=True, eq=False)
class Category:
    """A column with few different values.

    Args:
        values: The different values.
        codes: Place in `values` of each row, int32. Shape (rows,).
    """

    values: tuple[tuple[str, ...], ...]
    codes: NDArray[np.int32]

    def __getitem__(self, row: int) -> tuple[str, ...]:
        return self.values[self.codes[row]]

    def take(self, numbers: NDArray[np.integer]) -> Category:
        """Return the column of the rows at `numbers`."""
        return Category(self.values, self.codes[numbers])

    def used(self) -> Iterator[tuple[str, ...]]:
        """Yield the values that a row has."""
        counts = np.bincount(self.codes, minlength=len(self.values))
        return (self.values[code] for code in np.flatnonzero(counts).tolist())


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """The clips of a manifest as columns. It reads like a tuple of `Row`.

    Args:
        ids: Name of each clip.
        paths: Path of each file. None: `root` / id, for every clip.
        root: Folder of the files, if `paths` is None.
        starts: Starts in seconds, float64. Shape (rows,).
        durations: Lengths in seconds, float64; NaN means to the end of the file. Shape (rows,).
        labels: Names of the classes that are present.
        splits: Name of the split, as a tuple of one name.
        annotated: Labels that were annotated.
        parts: Part of the file that holds each sound. None: every sound is a whole file.
        domains: Domain of each clip, as a tuple of one name, "" if it is unknown. None: the data names no domains.
        views: View of its clip that each row is. None: every row is a clip without changes.
    """

    ids: Texts
    paths: Texts | FewTexts | None
    root: Path
    starts: NDArray[np.float64]
    durations: NDArray[np.float64]
    labels: Category
    splits: Category
    annotated: Category
    parts: Parts | None = None
    domains: Category | None = None
    views: ViewColumn | None = None

    @classmethod
    def of(cls, rows: Iterable[Row], root: Path = Path()) -> Rows:
        """Return columns from rows, which are read once.

        Args:
            rows: The clips.
            root: Folder of the files. Paths that are `root` / id take no memory.
        """
        return rows if isinstance(rows, Rows) else _Builder(root).build(rows)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Rows: ...
    def __getitem__(self, place: int | slice) -> Row | Rows:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self._row(place, self.ids[place], None if self.paths is None else self.paths[place])

    def __iter__(self) -> Iterator[Row]:
        paths = self.ids if self.paths is None else self.paths
        for number, (clip_id, path) in enumerate(zip(self.ids, paths, strict=True)):
            yield self._row(number, clip_id, None if self.paths is None else path)

    def _row(self, number: int, clip_id: str, path: str | None) -> Row:
        duration = float(self.durations[number])
        return Row(
            clip_id,
            self.root / clip_id if path is None else Address(path) if is_address(path) else Path(path),
            float(self.starts[number]),
            None if duration != duration else duration,
            self.labels[number],
            self.splits[number][0],
            self.annotated[number],
            None if self.parts is None else self.parts[number],
            "" if self.domains is None else self.domains[number][0],
            None if self.views is None else self.views.of(number, clip_id),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == yours for mine, yours in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, numbers: NDArray[np.integer]) -> Rows:
        """Return the rows at `numbers`, in this order."""
        return Rows(
            self.ids.take(numbers),
            None if self.paths is None else self.paths.take(numbers),
            self.root,
            self.starts[numbers],
            self.durations[numbers],
            self.labels.take(numbers),
            self.splits.take(numbers),
            self.annotated.take(numbers),
            None if self.parts is None else self.parts.take(numbers),
            None if self.domains is None else self.domains.take(numbers),
            None if self.views is None else self.views.take(numbers),
        )


class _Builder:
    """Rows, collected one after another."""

    def __init__(self, root: Path) -> None:
        self.root, self._prefix = root, f"{root}/"
        self._starts, self._durations = array("d"), array("d")
        self._values: tuple[dict[tuple[str, ...], int], ...] = ({}, {}, {}, {})
        self._codes = (array("i"), array("i"), array("i"), array("i"))
        self._parts = PartsBuilder()

    def build(self, rows: Iterable[Row]) -> Rows:
        """Return the columns of all rows."""
        ids, paths, ends, path_ends = bytearray(), bytearray(), array("q"), array("q")
        below_root = True
        for row in rows:
            path = str(row.path)
            below_root = below_root and path == self._prefix + row.id
            ids += row.id.encode("utf-8", "surrogateescape")
            ends.append(len(ids))
            paths += path.encode("utf-8", "surrogateescape")
            path_ends.append(len(paths))
            self._starts.append(row.start)
            self._durations.append(np.nan if row.duration is None else row.duration)
            self._parts.append(row.part)
            for values, codes, value in zip(
                self._values, self._codes, (row.labels, (row.split,), row.annotated, (row.domain,)), strict=True
            ):
                codes.append(values.setdefault(value, len(values)))
        labels, splits, annotated, domains = (
            Category(tuple(values), np.frombuffer(codes, np.int32))
            for values, codes in zip(self._values, self._codes, strict=True)
        )
        return Rows(
            _texts(ids, ends),
            None if below_root else _texts(paths, path_ends),
            self.root,
            np.frombuffer(self._starts, np.float64),
            np.frombuffer(self._durations, np.float64),
            labels,
            splits,
            annotated,
            self._parts.build(),
            domains if any(domain for (domain,) in domains.values) else None,
        )


def _texts(data: bytearray, ends: array[int]) -> Texts:
    return Texts(np.frombuffer(data, np.uint8), np.frombuffer(ends, np.int64))


class Manifest:
    """An ordered list of clips.

    Args:
        source: File or folder that it was read from, or its address, for messages.
        rows: The clips: `Rows`, or any iterable of `Row`.
        notes: What the reader understood beside the clips. `summary_of` says it in one line.
    """

    def __init__(self, source: Path | Address, rows: Iterable[Row] = (), notes: Notes = Notes()) -> None:
        self.source, self.notes = source, notes
        self.rows = Rows.of(rows, Path(source))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> Texts:
        """Name of each clip."""
        return self.rows.ids

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of all labels that are present or annotated, sorted: the order of `AudioBatch.labels`."""
        used = (*self.rows.labels.used(), *self.rows.annotated.used())
        return tuple(sorted({label for labels in used for label in labels}))

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """Name of the split of each clip, "" if none is given. Shape (clips,)."""
        names = np.array([name for (name,) in self.rows.splits.values] or [""])
        return names[self.rows.splits.codes]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the ids and windows, in order. It does not depend on the location of the root."""
        # The JSON of [[id, start, duration], ...], which stores have since their first version, without the whole list.
        state, separator = hashlib.sha256(b"["), b""
        for first in range(0, len(self), _BLOCK):
            part = [[row.id, row.start, row.duration] for row in self.rows[first : first + _BLOCK]]
            state.update(separator + json.dumps(part, separators=(",", ":"))[1:-1].encode())
            separator = b","
        state.update(b"]")
        return state.hexdigest()

    def labelled(self) -> Manifest:
        """Return a manifest with labels. Without any labels, the name of a clip's folder becomes its label.

        If the notes forbid this, as for tables, the manifest stays without labels.
        """
        if self.classes or not self.notes.folder_labels:
            return self
        values: dict[tuple[str, ...], int] = {}
        codes, code_of = array("i"), dict[str, int]()
        for clip_id in self.ids:
            folder = clip_id[: clip_id.rfind("/") + 1]
            if folder not in code_of:
                name = Path(clip_id).parent.as_posix()
                label = self.notes.label_of_folder.get(name, name)
                code_of[folder] = values.setdefault((label,), len(values))
            codes.append(code_of[folder])
        labels = Category(tuple(values), np.frombuffer(codes, np.int32))
        columns = {name: getattr(self.rows, name) for name in self.rows.__dataclass_fields__}
        notes = replace(self.notes, labels="the names of the folders")
        return Manifest(self.source, Rows(**{**columns, "labels": labels}), notes)

    def subset(self, rows: Iterable[Row]) -> Manifest:
        """Return a manifest with the same source and notes, and other rows."""
        return Manifest(self.source, rows, self.notes)

    def take(self, numbers: NDArray[np.integer]) -> Manifest:
        """Return a manifest of the clips at `numbers`, in this order."""
        return Manifest(self.source, self.rows.take(numbers), self.notes)
