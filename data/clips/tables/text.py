"""Read tables in text: CSV, TSV, the selection tables of Raven, the label tracks of Audacity, and JSONL."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from distill.data.clips.tables.chunks import MAX_COLUMNS, TableFile, chunks_of
from distill.data.clips.tables.columns import find_columns
from distill.data.errors import UserError, first_line

_MAX_LINE, _MAX_JSON_LINE = 1 << 20, 1 << 24  # characters
_TRACK = ("start", "end", "label")  # columns of a label track, which has no header
_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before that of UTF-16, which is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def open_delimited(path: Path, separator: str) -> TableFile:
    """Open a table with one row a line.

    Args:
        path: The file.
        separator: Character between columns. Another one is used if only that finds columns of paths or times.

    Raises:
        UserError: the file is empty, is not text, or has too many columns.
        OSError: the file cannot be read.
    """
    line = next((line for line in _Lines(path, _MAX_LINE) if line.strip()), None)
    if line is None:
        raise UserError(f"{path}: the table is empty")
    if _is_label_track(line):
        return TableFile(
            path,
            _TRACK,
            lambda columns: chunks_of(_label_track(path, [_TRACK.index(name) for name in columns]), columns),
            layout="label track",
        )
    form = _form(path, line, separator)
    remarks = () if form.separator == separator else (f"columns are separated by {_SEPARATORS[form.separator]}",)
    return TableFile(
        path, form.header, lambda columns: chunks_of(_delimited(path, form, columns), columns), remarks=remarks
    )


def open_json(path: Path) -> TableFile:
    """Open a table with one JSON object a line.

    Raises:
        UserError: the file is not text, or has too many columns.
        OSError: the file cannot be read.
    """
    columns: dict[str, None] = {}
    characters = 0
    for _, record in _json_records(path):
        for name in record if isinstance(record, dict) else ():
            if name not in columns:
                columns[name] = None
                characters += len(name)
        if len(columns) > MAX_COLUMNS or characters > _MAX_LINE:
            break
    if characters > _MAX_LINE:
        raise UserError(f"{path}: the names of its columns have more than {_MAX_LINE:,} characters")
    return TableFile(path, tuple(columns), lambda names: chunks_of(_json_rows(path, names), names))


class _Lines:
    """The lines of a text, with their line ends. They are read once.

    Args:
        path: The file.
        longest: Largest length of a line in characters.

    Attributes:
        characters: Number of characters that were read since it was set to 0.
    """

    def __init__(self, path: Path, longest: int) -> None:
        self.path, self.longest, self.number, self.characters = path, longest, 0, 0

    def __iter__(self) -> Iterator[str]:
        """Raises UserError for a line that is too long or that is not text."""
        with _open_text(self.path) as file:
            while line := self._next(file):
                self.characters += len(line)
                if self.characters > self.longest:
                    raise UserError(
                        f"{self.path}, line {self.number}: longer than {self.longest:,} characters; is a quote missing?"
                    )
                yield line

    def _next(self, file: TextIO) -> str:
        self.number += 1
        try:
            line = file.readline(self.longest + 1)
        except UnicodeError as error:
            raise UserError(f"{self.path}, line {self.number}: not {file.encoding}; is the file cut off?") from error
        if "\0" in line:
            raise UserError(f"{self.path}, line {self.number}: holds NUL bytes, so it is not a table in UTF-8")
        return line


def _open_text(path: Path) -> TextIO:
    """Open a text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark."""
    with open(path, "rb") as file:
        begin = file.read(4)
    encoding = next((name for mark, name in _BOMS.items() if begin.startswith(mark)), "utf-8-sig")
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return open(path, encoding=encoding, errors=errors, newline="")


class _Form(NamedTuple):
    """The form of a table with separators.

    Args:
        separator: Character between columns.
        has_spaces: Whether a space follows each separator. It belongs to no cell.
        header: Names of the columns.
    """

    separator: str
    has_spaces: bool
    header: tuple[str, ...]

    def reader(self, lines: Iterable[str]) -> Any:
        """Return a reader of the cells of lines."""
        return csv.reader(lines, delimiter=self.separator, skipinitialspace=self.has_spaces)


def _form(path: Path, line: str, usual: str) -> _Form:
    """Return the form of a table by its first line. The usual separator is preferred."""
    forms: dict[str, _Form] = {}
    for separator in (usual, *(mark for mark in _SEPARATORS if mark != usual)):
        try:
            header = next(csv.reader([line], delimiter=separator), [])
            has_spaces = len(header) > 1 and all(name.startswith(" ") for name in header[1:])
            form = _Form(separator, has_spaces, ())
            forms[separator] = form._replace(header=tuple(next(form.reader([line]), [])))
        except csv.Error:  # a field is too long
            continue
        if 1 < len(header) <= MAX_COLUMNS and _is_known(path, header):
            return forms[separator]
    if usual not in forms:
        raise UserError(f"{path}, line 1: the name of a column is too long; is it a table?")
    return forms[usual]


def _is_known(path: Path, header: Sequence[str]) -> bool:
    """Return whether there is a column of paths, or columns of start and end."""
    try:
        columns = find_columns(path, header)
    except UserError:  # two columns have the same name
        return True
    return bool(columns.paths) or (columns.start is not None and columns.end is not None)


def _delimited(path: Path, form: _Form, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[str] | str]]:
    """Yield the rows of a CSV or TSV file."""
    places, width = [form.header.index(name) for name in columns], len(form.header)
    lines = _Lines(path, _MAX_LINE)
    reader = form.reader(lines)
    has_header = False
    try:
        for row in reader:
            lines.characters = 0
            if not any(row):
                continue
            if not has_header:
                has_header = True
            elif len(row) < width or (len(row) > width and any(row[width:])):
                yield reader.line_num, f"{len(row):,} fields for {width:,} columns; is the line cut off?"
            else:
                yield reader.line_num, [row[place] for place in places]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {first_line(error)}; is a quote missing?") from error


def _is_label_track(line: str) -> bool:
    """Return whether a line is a label of Audacity: start, end and label, separated by tabs."""
    fields = line.rstrip("\r\n").split("\t")
    try:
        return len(fields) in (2, 3) and float(fields[0]) <= float(fields[1])
    except ValueError:
        return False


def _label_track(path: Path, places: Sequence[int]) -> Iterator[tuple[int, Sequence[str] | str]]:
    """Yield the labels of a track."""
    lines = _Lines(path, _MAX_LINE)
    for line in lines:
        lines.characters = 0
        if not line.strip() or line.startswith("\\"):  # the frequencies of the label above
            continue
        fields = [*line.rstrip("\r\n").split("\t"), ""]
        if len(fields) in (3, 4):
            yield lines.number, [fields[place] for place in places]
        else:
            yield lines.number, f"{len(fields) - 1:,} fields, not start, end and label"


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the number of each line and its object, or the reason why it has none."""
    lines = _Lines(path, _MAX_JSON_LINE)
    for line in lines:
        lines.characters = 0
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            yield lines.number, f"not JSON ({error.msg}); is the line cut off?"
        except (ValueError, RecursionError) as error:
            yield lines.number, f"not JSON that can be read ({first_line(error)})"
        else:
            yield lines.number, record if isinstance(record, dict) else "must be a JSON object"


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any] | str]]:
    for number, record in _json_records(path):
        yield number, record if isinstance(record, str) else [record.get(name) for name in columns]
