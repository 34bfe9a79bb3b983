"""The predictions of a classifier as a table, written row by row: CSV, Parquet, or a selection table of Raven."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.crop import row_seconds
from distill.data.clips.manifest import Row
from distill.data.errors import UserError
from distill.data.files import write_atomically
from distill.data.store.texts import readable_id

SUFFIXES = (".csv", ".parquet", ".txt")
BEST, PRESENT, ALL = "best", "present", "all"
CHOICES = ("auto", BEST, PRESENT, ALL)
_RAVEN = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin Path",
    "File Offset (s)", "Class", "Probability",
)  # fmt: skip
_PLACE = ("path", "start", "end")
_DETECTED = ("class", "probability")


class Place(NamedTuple):
    """The part of a file that a prediction is about.

    Args:
        path: The file, as it is written in the table.
        start: Start in the file, in seconds.
        end: End in the file, in seconds.
    """

    path: str
    start: float
    end: float

    @classmethod
    def of(cls, row: Row, root: str) -> Place:
        """Return the part of its file that a clip is. Paths below `root`, which ends in "/", are relative to it.

        A sound inside a tar has no path of its own, but an id.
        """
        end = row.start + (row_seconds(row) if row.duration is None else row.duration)
        name = str(row.path).removeprefix(root) if row.part is None else row.id
        return cls(readable_id(name), row.start, round(end, 6))


@dataclass(frozen=True)
class Choice:
    """Which classes of a clip become rows of the table.

    Args:
        scores: "best": the most probable ones. "present": those that reach their threshold. "all": a clip is one row,
            with a column for each class.
        thresholds: Probability that a class must reach to be a row. For "best" 0 leaves nothing out. Shape (classes,).
        top: Number of the most probable classes, for "best".
    """

    scores: str
    thresholds: NDArray[np.float64]
    top: int = 1

    def columns(self, probabilities: NDArray[np.float64]) -> list[int]:
        """Return the chosen classes of one clip, from their probabilities (classes,), the most probable first."""
        order = np.argsort(-probabilities, kind="stable")
        order = order[: self.top] if self.scores == BEST else order
        return [int(column) for column in order if probabilities[column] >= self.thresholds[column]]


def check_table(path: Path, scores: str) -> None:
    """Raise UserError if `write_predictions` cannot write a file of this name."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"--out {path}: the name must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} (Raven)")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise UserError("Parquet requires one more package: pip install 'audio-distill[parquet]'")
    if suffix == ".txt" and scores == ALL:
        raise UserError(f"--out {path}: a selection table of Raven has a row for each class; omit --scores all")
    if path.is_dir():
        raise UserError(f"--out {path} is a folder")


Predictions = Iterable[tuple[Sequence[Place], NDArray[np.float64]]]
"""Places of some clips, and their probabilities (clips, classes); one batch after another."""


@dataclass
class PredictionTable:
    """A table of predictions that is written batch by batch.

    Args:
        path: The file: .csv, .parquet, or .txt for Raven.
        names: Names of the classes.
        choice: Which classes become rows.
        band: Lowest and highest frequency that the student covers, in Hz, for Raven.

    Attributes:
        rows: Number of the rows that were written.
    """

    path: Path
    names: tuple[str, ...]
    choice: Choice
    band: tuple[float, float] = (0.0, 0.0)
    rows: int = field(default=0, init=False)

    def write(self, predictions: Predictions) -> None:
        """Write all predictions. Until the last one, an earlier file of this name stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kinds = {".parquet": self._write_parquet, ".csv": self._write_csv, ".txt": self._write_raven}
        write = kinds[self.path.suffix.lower()]
        write_atomically(self.path, lambda file: write(file, predictions))

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*_PLACE, *(self.names if self.choice.scores == ALL else _DETECTED))

    def _batches(self, predictions: Predictions) -> Iterator[list[tuple[object, ...]]]:
        """Yield the rows of each batch, and count them."""
        for places, probabilities in predictions:
            rows: list[tuple[object, ...]] = []
            for place, values in zip(places, probabilities, strict=True):
                if self.choice.scores == ALL:
                    rows.append((*place, *values.tolist()))
                else:
                    chosen = self.choice.columns(values)
                    rows += [(*place, self.names[column], float(values[column])) for column in chosen]
            self.rows += len(rows)
            yield rows

    def _write_csv(self, file: BinaryIO, predictions: Predictions) -> None:
        with _text_of(file) as text:
            table = csv.writer(text)
            table.writerow(self._columns)
            for rows in self._batches(predictions):
                table.writerows([_cell(value) for value in row] for row in rows)

    def _write_parquet(self, file: BinaryIO, predictions: Predictions) -> None:
        import pyarrow
        from pyarrow import parquet

        text = pyarrow.string()
        is_wide = self.choice.scores == ALL
        schema = pyarrow.schema(
            [("path", text), ("start", pyarrow.float64()), ("end", pyarrow.float64())]
            + [
                (name, text if name == "class" and not is_wide else pyarrow.float32())
                for name in self._columns[len(_PLACE) :]
            ]
        )
        with parquet.ParquetWriter(file, schema) as writer:
            for rows in self._batches(predictions):
                columns = zip(*rows, strict=True) if rows else [()] * len(schema)
                arrays = [pyarrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
                writer.write_table(pyarrow.table(arrays, schema=schema))

    def _write_raven(self, file: BinaryIO, predictions: Predictions) -> None:
        """Write times as Raven counts them when it opens all files in this order: from the start of the first one."""
        offsets, ended = dict[str, float](), 0.0
        low, high = self.band
        with _text_of(file) as text:
            table = csv.writer(text, delimiter="\t", lineterminator="\n")
            table.writerow(_RAVEN)
            number = 0
            for places, probabilities in predictions:
                for place in places:
                    if place.path not in offsets:
                        offsets[place.path] = ended
                        ended += row_seconds(Row(place.path, Path(place.path)))
                for rows in self._batches([(places, probabilities)]):
                    for path, start, end, name, probability in rows:
                        number, offset = number + 1, offsets[str(path)]
                        begin, finish = offset + float(str(start)), offset + float(str(end))
                        cells = (number, "Spectrogram 1", 1, begin, finish, low, high, path, start, name, probability)
                        table.writerow([_cell(value) for value in cells])


class _text_of:
    """A text in UTF-8 over a file of bytes, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="")

    def __enter__(self) -> io.TextIOWrapper:
        return self._text

    def __exit__(self, *error: object) -> None:
        self._text.flush()
        self._text.detach()


def _cell(value: object) -> str:
    """Return a number without needless zeros, to a millionth, or a text as it is."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
