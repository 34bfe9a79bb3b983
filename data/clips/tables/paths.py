"""The names of audio files in a table: which are paths inside the root."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill.data.audio.remote import Address
from distill.data.clips.containment import Folder

_MAX_PATH = 4096  # characters; more than a file system allows
_MAX_SHOWN = 200  # characters in a message
_LOOKED_FOR = 10  # files that are looked for before work
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")

Problem = tuple[str, str]
"""Reason and detail of a row that cannot be used."""


def audio_of(cell: Any) -> str:
    """Return the path in a cell of a column of audio files. Empty: there is none.

    Data sets of Hugging Face have mappings with a path, bytes, or both.

    Raises:
        ValueError: the cell holds the sound itself, or something else.
    """
    if cell is None or cell != cell:
        return ""
    if isinstance(cell, Mapping):
        if cell.get("bytes") is not None:
            raise ValueError("holds a sound as bytes; it must be the path of a file")
        return audio_of(cell.get("path"))
    if isinstance(cell, bytes):
        return os.fsdecode(cell)
    if isinstance(cell, list | tuple):
        raise ValueError("holds a list; it must be the path of a file")
    return str(cell)


class Names:
    """The reader of the names of files.

    Args:
        root: Folder that all files must lie in, or its address.
        folder: Folder below the root that names are relative to, with "/" at its end. Empty: the root.
        columns: Columns of names. Of a row, the first that is not empty is read.
        recording: Name of the file of all rows, if there are no columns.
        is_given: Whether the user named the root.
    """

    def __init__(
        self, root: Path | Address, folder: str, columns: Sequence[str], recording: str, is_given: bool
    ) -> None:
        self.root, self._columns, self._below, self._is_given = root, columns, folder, is_given
        self._recording = folder + recording
        self._folder, self._prefix = None if isinstance(root, Address) else Folder(root), f"{root}/"
        self._converts: bool | None = True if os.sep == "\\" else None  # None: no backslash yet
        self._looked_for: list[str] = []

    def read(self, columns: Mapping[str, Sequence[Any]], count: int) -> tuple[list[str], dict[int, Problem]]:
        """Return the name of each row, with "/" between folders, and the problem of each row that has one.

        Args:
            columns: Values of the columns of a chunk.
            count: Number of its rows.
        """
        if not self._columns:
            return [self._recording] * count, {}
        names, problems = _first_names([columns[name] for name in self._columns])
        joined = "\n".join(names)
        if "\\" in joined and self._reads_backslashes(names):
            names = [name.replace("\\", "/") for name in names]
        if self._below:
            names = [name if name.startswith("/") else self._below + name for name in names]
        if _is_suspicious(joined):
            found = {place: problem for place, name in enumerate(names) if (problem := _problem(name))}
            problems = found | problems
        safe = [name if place not in problems else "" for place, name in enumerate(names)] if problems else names
        for place in _above(safe) if self._folder is None else self._folder.outside(safe):
            problems[place] = ("outside", f"{shortened(names[place])} lies outside {self.root}{self._hint()}")
        if not self._looked_for:
            self._looked_for = [name for name in safe if name][:_LOOKED_FOR]
        return names, problems

    def paths(self, names: Sequence[str]) -> list[str]:
        """Return the path of each name."""
        return [name if name.startswith("/") else self._prefix + name for name in names]

    def remarks(self) -> list[str]:
        """Return what the user should know, each in words."""
        remarks = ["backslashes in paths are read as slashes"] if self._converts and os.sep == "/" else []
        if (
            self._looked_for
            and self._folder is not None
            and not any(os.path.exists(os.path.join(self.root, name)) for name in self._looked_for)
        ):
            remarks.append(f"none of the first {len(self._looked_for)} files exists in {self.root}{self._hint()}")
        return remarks

    def _reads_backslashes(self, names: Sequence[str]) -> bool:
        """Return whether backslashes stand between folders: on Windows, or if the first such file does not exist."""
        if self._converts is None:
            first = next(name for name in names if "\\" in name)
            self._converts = not os.path.lexists(os.path.join(self.root, first))
        return self._converts

    def _hint(self) -> str:
        return "" if self._is_given else "; --root DIR says where the audio lies"


def _above(names: Sequence[str]) -> list[int]:
    """Return the places of the names that may lie outside the folder of an address."""
    return [place for place, name in enumerate(names) if name.startswith("/") or ".." in name.split("/")]


def shortened(name: str) -> str:
    """Return a name in quotes for a message; of a long one, the beginning."""
    return repr(name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}...")


def _first_names(columns: Sequence[Sequence[Any]]) -> tuple[list[str], dict[int, Problem]]:
    """Return the first name of each row that is not empty, and the problem of each row that has none."""
    first = columns[0]
    if set(map(type, first)) == {str} and "" not in first and max(map(len, first)) <= _MAX_PATH:  # in one go
        return list(first), {}
    names: list[str] = [""] * len(first)
    problems: dict[int, Problem] = {}
    for number, cells in enumerate(columns):
        if number and "" not in names:
            break
        for place, cell in enumerate(cells):
            if names[place]:
                continue
            try:
                name = cell if type(cell) is str else audio_of(cell)
            except ValueError as error:
                problems[place] = ("bad_row", str(error))
                continue
            if len(name) > _MAX_PATH:
                problems[place] = ("bad_name", f"a path of {len(name):,} characters")
                name = name[:_MAX_PATH]
            names[place] = name
    if "" in names:
        problems |= {
            place: ("no_path", "no path of a file")
            for place, name in enumerate(names)
            if not name and place not in problems
        }
    return names, problems


def _is_suspicious(names: str) -> bool:
    """Return whether one of many names may have a problem."""
    return "://" in names or "pipe:" in names or ":/" in names or ":\\" in names or "\0" in names or not _is_text(names)


def _problem(name: str) -> Problem | None:
    """Return why a name is not the path of a file. None: it may be one."""
    if "\0" in name or not _is_text(name):
        return "bad_name", f"{shortened(name)} is not a file name"
    if "://" in name or name.startswith("pipe:"):
        return "address", f"{shortened(name)} is an address; it must be a file"
    if _DRIVE.match(name) and os.sep == "/":
        return "outside", f"{shortened(name)} is a path of Windows; it must be relative to the folder of the audio"
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
