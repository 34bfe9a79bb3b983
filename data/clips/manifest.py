"""Which clips there are: folders, tables and data sets by their layout, as one list of rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from distill.data.fingerprint import digest


@dataclass(frozen=True)
class Row:
    """One clip.

    Args:
        id: Stable and unique; the path below the root, with "@start" where the row is a window of a file.
        path: Of the file.
        start: Seconds into the file.
        duration: Seconds; None is to the end of the file.
        labels: Names of its classes; empty where none are known.
        split: Name of its part ("train", "test", a fold's number); "" where none is given.
        annotated: Labels that were annotated, present or absent; empty: all were.
    """

    id: str
    path: Path
    start: float = 0.0
    duration: float | None = None
    labels: tuple[str, ...] = ()
    split: str = ""
    annotated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """An ordered list of clips.

    Args:
        source: Where it was read from, for messages.
        rows: The clips.
    """

    source: Path
    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of all labels that are present or annotated, sorted: the order of `AudioBatch.labels`."""
        return tuple(sorted({label for row in self.rows for label in (*row.labels, *row.annotated)}))

    @cached_property
    def digest(self) -> str:
        """Sha256 of the ordered ids and windows; independent of where the root lies."""
        return digest([[row.id, row.start, row.duration] for row in self.rows])

    def labelled(self) -> Manifest:
        """Itself; without any labels, the name of a clip's folder is its label."""
        if self.classes:
            return self
        return self.subset(replace(row, labels=(Path(row.id).parent.as_posix(),)) for row in self.rows)

    def subset(self, rows: Iterable[Row]) -> Manifest:
        """The same source with fewer rows."""
        return Manifest(self.source, tuple(rows))
