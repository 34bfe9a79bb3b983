"""Tables of clips: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError, first_line

TABLE_SUFFIXES = {".csv", ".tsv", ".jsonl", ".parquet"}


_PATH_COLUMNS = ("path", "file_name", "filename", "file", "audio")


_LABEL_COLUMNS = ("labels", "label", "category", "class")


_PARTS = {
    "training": ("training", "train"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


class Inside:
    """Whether paths lie in a folder once links are followed; each parent folder is followed once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._real: dict[str, str] = {}

    def __call__(self, path: Path) -> bool:
        """Raises nothing: a file that is not there lies where it would."""
        parent, name = os.path.split(path)
        if name in ("", os.pardir) or os.path.islink(path):
            real = os.path.realpath(path)
        else:
            if parent not in self._real:
                self._real[parent] = os.path.realpath(parent)
            real = os.path.join(self._real[parent], name)
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)


def read_table(table: Path, root: Path) -> Manifest:
    """Read a CSV, TSV, JSONL or Parquet table; paths are relative to `root`.

    Raises:
        UserError: a row is wrong, or an id is there twice; the message names the line.
    """
    rows: dict[str, Row] = {}
    inside = Inside(root)
    for line, record in _records(table):
        try:
            row = _row(record, root, inside)
        except (ValueError, KeyError) as error:
            raise UserError(f"{table}, line {line}: {error.args[0]}") from error
        if row.id in rows:
            raise UserError(f"{table}, line {line}: the id {row.id!r} is there twice; give an `id` column")
        rows[row.id] = row
    return Manifest(table, tuple(rows.values()))


def _records(table: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    suffix = table.suffix.lower()
    if suffix == ".parquet":
        yield from enumerate(_parquet_records(table), 1)
        return
    text = table.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        raise UserError(f"{table}: holds NUL bytes; is it a {suffix} file?")
    if suffix == ".jsonl":
        for line, content in enumerate(text.splitlines(), 1):
            if content.strip():
                try:
                    record = json.loads(content)
                except json.JSONDecodeError as error:
                    raise UserError(f"{table}, line {line}: no JSON ({error.msg}); is the line cut off?") from error
                if not isinstance(record, dict):
                    raise UserError(f"{table}, line {line}: a JSON object is wanted")
                yield line, record
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",")
    for record in reader:
        if None in record or None in record.values():
            raise UserError(f"{table}, line {reader.line_num}: not as many fields as columns; is the line cut off?")
        yield reader.line_num, record


def _parquet_records(table: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{table}: Parquet needs pyarrow; pip install 'audio-distill[parquet]'") from error
    try:
        return pyarrow.parquet.read_table(table).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{table}: {first_line(error)}") from error


def _row(record: Mapping[str, Any], root: Path, inside: Inside) -> Row:
    name = str(_first(record, _PATH_COLUMNS, required=True))
    if "://" in name or name.startswith("pipe:"):
        raise ValueError(f"{name!r} is an address; only files below {root} are read")
    path = root / name
    if not inside(path):
        raise ValueError(f"{name!r} lies outside {root}")
    start = _seconds(record, "start") or 0.0
    duration = _seconds(record, "duration")
    end = _seconds(record, "end")
    if end is not None:
        duration = end - start
    if start < 0 or (duration is not None and not duration > 0):
        raise ValueError(f"a window from {start:g} s of {duration:g} s holds nothing")
    labels = _first(record, _LABEL_COLUMNS)
    names = labels if isinstance(labels, list) else str(labels).split(",")
    return Row(
        id=str(record.get("id") or (f"{name}@{start:g}" if start or duration is not None else name)),
        path=path,
        start=start,
        duration=duration,
        labels=tuple(str(label).strip() for label in names if str(label).strip()),
        split=part_of(str(_first(record, ("split", "fold")))),
    )


def part_of(name: str) -> str:
    """Parts of data under one name each: "training", "validation", "test"; a fold as it is."""
    plain = name.strip().lower()
    return next((part for part, names in _PARTS.items() if plain in names), name.strip())


def _first(record: Mapping[str, Any], columns: tuple[str, ...], required: bool = False) -> Any:
    for column in columns:
        if record.get(column) not in (None, ""):
            return record[column]
    if required:
        raise ValueError(f"no {' or '.join(columns[:3])} in it; the columns are {', '.join(map(str, record))}")
    return ""


def _seconds(record: Mapping[str, Any], column: str) -> float | None:
    value = record.get(column)
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{column} is {value!r}, not a number of seconds") from None
