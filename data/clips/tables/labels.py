"""The labels in the cells of a table: one label, a list, or several labels with a separator."""

from __future__ import annotations

import ast
import csv
import io
import json
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.data.audio.remote import Address
from distill.data.errors import UserError

SEPARATORS = (";", "|", ",")
Cell = str | tuple[str, ...]
"""A cell that was read: text, or the labels of a list."""


def as_cell(value: Any, names: Sequence[str] = ()) -> Cell:
    """Return the value of a label column as text or as the labels of a list.

    Args:
        value: Text, number or list. None and NaN mean no label.
        names: Names of the classes, if the column holds their numbers. -1 means no label.

    Raises:
        ValueError: the value is neither.
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, list | tuple):
        return tuple(text for item in value for text in [as_cell(item, names)] if isinstance(text, str))
    if isinstance(value, int) and not isinstance(value, bool) and names:
        return names[value] if 0 <= value < len(names) else "" if value == -1 else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Mapping):
        raise ValueError("the label is a mapping, not a text, a number or a list")
    return str(value)


@dataclass(frozen=True)
class Parsed:
    """The labels of cells.

    Args:
        labels: Labels of each cell, in the order of the cells.
        remarks: Rules that were applied, in words.
    """

    labels: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]


def parse_cells(table: Path | Address, column: str, cells: Sequence[Cell], several: bool) -> Parsed:
    """Return the labels of the different cells of a column.

    A list is several labels, also if it is written as JSON or as pandas and numpy print it. Other text is one label if
    the column is for one label. Otherwise it is divided at the first of ";", "|" and "," that occurs in the column.

    Args:
        table: The table, for messages.
        column: Name of the column, for messages.
        cells: The different cells.
        several: Whether a text may hold several labels.

    Raises:
        UserError: a label is not valid text.
    """
    lists = [cell if isinstance(cell, tuple) else written_list(cell) for cell in cells]
    texts = [cell for cell, parts in zip(cells, lists, strict=True) if parts is None and isinstance(cell, str)]
    separator = next((mark for mark in SEPARATORS if any(mark in text for text in texts)), None) if several else None
    labels, divided = [], 0
    for cell, parts in zip(cells, lists, strict=True):
        names = _divide(str(cell), separator) if parts is None else parts
        divided += parts is None and len(names) > 1
        labels.append(tuple(dict.fromkeys(text for name in names if (text := name.strip()))))
    _check(table, column, labels)
    remarks = [f"column {column!r}: labels are separated by {separator!r}"] if divided else []
    whole = sum("," in text for text in texts)
    if whole and not several:
        remarks.append(f"column {column!r} holds one label a row, and {whole:,} labels with a comma are kept whole")
    return Parsed(tuple(labels), tuple(remarks))


def written_list(text: str) -> tuple[str, ...] | None:
    """Return the items of a list in JSON, Python or numpy, such as "['dog', 'cat']". None if it is not a list."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = _python_list(text)
    if not isinstance(items, list) or any(isinstance(item, list | dict) for item in items):
        return None
    return tuple("" if item is None else str(item) for item in items)


def _python_list(text: str) -> list[Any] | None:
    """Return the items of a list as Python or numpy prints it. None if it is not a list."""
    try:
        items = ast.literal_eval(text)
        tokens = [token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        return None
    # numpy prints no commas, and Python joins texts without a comma.
    texts = [token for token in tokens if token[:1] in ("'", '"')]
    return [ast.literal_eval(token) for token in texts] if len(texts) > len(items) else items


def _divide(text: str, separator: str | None) -> Sequence[str]:
    """Return the parts of a text. A separator in quotes does not count."""
    if separator is None or separator not in text:
        return [text]
    return next(csv.reader([text.replace("\n", " ").replace("\r", " ")], delimiter=separator, skipinitialspace=True))


def _check(table: Path | Address, column: str, labels: Iterable[Sequence[str]]) -> None:
    """Raise UserError if a label is not valid text, as in a table that is not in UTF-8."""
    for label in (label for several in labels for label in several):
        try:
            label.encode()
        except UnicodeEncodeError:
            shown = label[:80].encode("utf-8", "backslashreplace").decode()
            raise UserError(
                f"{table}: the label {shown!r} in column {column!r} is not UTF-8; save the table as UTF-8"
            ) from None
