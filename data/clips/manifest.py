"""The list of clips of a data set: one row per clip, with its file, window, labels and split."""

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
        id: Stable and unique name: the path below the root, with "@start" if the clip is a window of a file.
        path: The file.
        start: Start of the clip within the file, in seconds.
        duration: Length of the clip, in seconds. None means to the end of the file.
        labels: Names of the classes that are present. Empty if none is known.
        split: Name of the split ("training", "validation", "test" or the number of a fold). "" if none is given.
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
        source: File or folder that it was read from, for messages.
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
        """SHA-256 of the ids and windows, in order. It does not depend on the location of the root."""
        return digest([[row.id, row.start, row.duration] for row in self.rows])

    def labelled(self) -> Manifest:
        """Return a manifest with labels. Without any labels, the name of a clip's folder becomes its label."""
        if self.classes:
            return self
        return self.subset(replace(row, labels=(Path(row.id).parent.as_posix(),)) for row in self.rows)

    def subset(self, rows: Iterable[Row]) -> Manifest:
        """Return a manifest with the same source and other rows."""
        return Manifest(self.source, tuple(rows))
