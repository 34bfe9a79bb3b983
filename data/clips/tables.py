"""Read tables of clips: CSV, TSV, JSONL and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError, first_line

TABLE_SUFFIXES = {".csv", ".tsv", ".jsonl", ".parquet"}
_PATH_COLUMNS = ("path", "file_name", "filename", "file", "audio")
_LABEL_COLUMNS = ("labels", "label", "category", "class")
_SPLITS = {
    "training": ("training", "train", "trainset", "trn", "tr"),
    "validation": ("validation", "valid", "valset", "val", "dev"),
    "test": ("test", "testing", "tests", "testset", "tst", "eval", "evaluation"),
}


def read_table(table: Path, root: Path) -> Manifest:
    """Read a CSV, TSV, JSONL or Parquet table.

    Args:
        table: The file.
        root: Folder that paths are relative to. All files must lie in it.

    Raises:
        UserError: a row is wrong, or an id occurs twice. The message names the line.
    """
    rows: dict[str, Row] = {}
    folder = _Folder(root)
    for line, record in _records(table):
        try:
            row = _row(record, root, folder)
        except (ValueError, KeyError) as error:
            raise UserError(f"{table}, line {line}: {error.args[0]}") from error
        if row.id in rows:
            raise UserError(f"{table}, line {line}: the id {row.id!r} occurs twice; add a column `id`")
        rows[row.id] = row
    return Manifest(table, tuple(rows.values()))


def _records(table: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    """Yield the number and the values of each line. Raises UserError."""
    suffix = table.suffix.lower()
    if suffix == ".parquet":
        return enumerate(_parquet_records(table), 1)
    text = table.read_text(encoding="utf-8-sig", errors="surrogateescape")
    if "\0" in text:
        raise UserError(f"{table}: holds NUL bytes; is it a {suffix} file?")
    if suffix == ".jsonl":
        return _json_records(table, text)
    return _csv_records(table, text, delimiter="\t" if suffix == ".tsv" else ",")


def _json_records(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{table}, line {line}: not JSON ({error.msg}); is the line cut off?") from error
        if not isinstance(record, dict):
            raise UserError(f"{table}, line {line}: must be a JSON object")
        yield line, record


def _csv_records(table: Path, text: str, delimiter: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    for record in reader:
        if None in record or None in record.values():
            raise UserError(
                f"{table}, line {reader.line_num}: the number of fields differs from the columns; is the line cut off?"
            )
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


def _row(record: Mapping[str, Any], root: Path, folder: _Folder) -> Row:
    name = str(_first_value(record, _PATH_COLUMNS, required=True))
    if "://" in name or name.startswith("pipe:"):
        raise ValueError(f"{name!r} is an address: must be a file below {root}")
    path = root / name
    if not folder.contains(path):
        raise ValueError(f"{name!r} lies outside {root}")
    start = _seconds(record, "start") or 0.0
    duration = _seconds(record, "duration")
    end = _seconds(record, "end")
    if end is not None:
        duration = end - start
    if start < 0 or (duration is not None and not duration > 0):
        raise ValueError(f"a window of {duration or 0:g} s that starts at {start:g} s is empty or impossible")
    labels = _first_value(record, _LABEL_COLUMNS)
    names = labels if isinstance(labels, list) else str(labels).split(",")
    return Row(
        id=str(record.get("id") or (f"{name}@{start:g}" if start or duration is not None else name)),
        path=path,
        start=start,
        duration=duration,
        labels=tuple(str(label).strip() for label in names if str(label).strip()),
        split=split_name(str(_first_value(record, ("split", "fold")))),
    )


class _Folder:
    """A folder that paths must lie in after links are resolved. Each parent folder is resolved once."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._real: dict[str, str] = {}

    def contains(self, path: Path) -> bool:
        """Return whether a path lies in the folder. The file need not exist."""
        parent, name = os.path.split(path)
        if name in ("", os.pardir) or os.path.islink(path):
            real = os.path.realpath(path)
        else:
            if parent not in self._real:
                self._real[parent] = os.path.realpath(parent)
            real = os.path.join(self._real[parent], name)
        return real == self._root or real.startswith(self._root.rstrip(os.sep) + os.sep)


def split_name(name: str) -> str:
    """Return the standard name of a split: "training", "validation" or "test". Other names stay, as folds."""
    lower = name.strip().lower()
    return next((split for split, names in _SPLITS.items() if lower in names), name.strip())


def _first_value(record: Mapping[str, Any], columns: tuple[str, ...], required: bool = False) -> Any:
    """Return the value of the first column that has one, or "". Raises ValueError if one is required."""
    for column in columns:
        if record.get(column) not in (None, ""):
            return record[column]
    if required:
        raise ValueError(f"no column {' or '.join(columns[:3])}; the columns are {', '.join(map(str, record))}")
    return ""


def _seconds(record: Mapping[str, Any], column: str) -> float | None:
    value = record.get(column)
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{column} is {value!r}, not a number of seconds") from None
