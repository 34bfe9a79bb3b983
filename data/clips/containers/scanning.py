"""One pass over a tar: its sounds, where they lie, and what is written beside them.

The members of one sound have one key, as in WebDataset: `key.flac`, `key.json`, `key.cls`.
"""

from __future__ import annotations

import json
import os
import stat
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, unsupported
from distill.data.audio.parts import ReadAt, reader_of
from distill.data.audio.remote import Address, open_address
from distill.data.clips.containers.headers import Entry, TarError, entries
from distill.data.errors import AudioError, UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import Texts

TEXT_SUFFIXES = (".cls", ".label", ".labels", ".txt")  # beside ".json"
_MAX_BESIDE = 1 << 20  # bytes of a member beside a sound
_MAX_TEXT = 1000  # characters of a value that is kept, and values of a list


@dataclass(frozen=True, eq=False)
class Scan:
    """The sounds of a tar.

    Args:
        names: Names of the members, each once.
        firsts: Offset of each, int64. Shape (sounds,).
        sizes: Bytes of each, int64. Shape (sounds,).
        records: What is written beside each sound: a JSON object, or "".
        set_aside: Sounds that cannot be used, under their names in the tar.
        others: Number of the other members by suffix.
        fault: Why the tar was not read to its end. Empty: it was.
    """

    names: Texts
    firsts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    records: Texts
    set_aside: tuple[SetAside, ...]
    others: Mapping[str, int]
    fault: str


def scan(tar: Path | Address) -> Scan:
    """Read the headers of a tar, and the small members beside sounds.

    Raises:
        UserError: the file cannot be read, is compressed, or is no tar.
    """
    try:
        with open_address(tar) if isinstance(tar, Address) else _open_regular(tar) as file:
            read_at, size = reader_of(file)
            return _Scanner(read_at, size).scan()
    except (TarError, AudioError) as error:
        raise UserError(f"{tar}: {error}") from error
    except OSError as error:
        raise UserError(f"{tar}: {error.strerror or error}") from error


def _open_regular(path: Path) -> BinaryIO:
    """Open a file. Raises TarError for a pipe or a device, of which a read may wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TarError("not a file, but a folder, pipe or device")
    return os.fdopen(descriptor, "rb", buffering=0)


class _Scanner:
    """One pass over a tar."""

    def __init__(self, read_at: ReadAt, size: int) -> None:
        self._read_at, self._size = read_at, size
        self._sounds: dict[str, tuple[int, int]] = {}
        self._beside: dict[str, dict[str, tuple[int, int]]] = {}  # by key and suffix
        self._set_aside: list[SetAside] = []
        self._others: Counter[str] = Counter()

    def scan(self) -> Scan:
        fault = ""
        try:
            for entry in entries(self._read_at, self._size):
                self._add(entry)
        except TarError as error:
            if not (self._sounds or self._set_aside or self._others):
                raise
            fault = str(error)
        names, records, places = [], [], array("q")
        for name, place in self._sounds.items():
            try:
                records.append(self._record(name))
            except ValueError as error:
                self._set_aside.append(SetAside(name, "malformed", str(error)))
                continue
            names.append(name)
            places.extend(place)
        columns = np.frombuffer(places, np.int64).reshape(-1, 2)
        return Scan(
            Texts.of(names),
            columns[:, 0].copy(),
            columns[:, 1].copy(),
            Texts.of(records),
            tuple(self._set_aside),
            dict(self._others),
            fault,
        )

    def _add(self, entry: Entry) -> None:
        """Take in a member."""
        entry = entry._replace(name=_relative(entry.name))
        key, suffix = os.path.splitext(entry.name)
        suffix = suffix.lower()
        is_sound = suffix in AUDIO_SUFFIXES or suffix in CONVERTIBLE_SUFFIXES
        if entry.kind == "folder":
            return
        if is_hidden(entry.name):
            self._others["hidden files"] += 1
        elif is_sound and (refusal := self._refusal(entry, suffix)):
            self._set_aside.append(refusal)
        elif is_sound:
            if entry.name in self._sounds:  # a tar that was added to; its last member is the valid one
                self._set_aside.append(SetAside(entry.name, "repeated", "a later member of the tar has the same name"))
            self._sounds[entry.name] = (entry.first, entry.size)
        elif entry.kind == "file" and (suffix == ".json" or suffix in TEXT_SUFFIXES):
            self._beside.setdefault(key, {})[suffix] = (entry.first, entry.size)
        else:
            self._others[suffix or "other members"] += 1

    def _refusal(self, entry: Entry, suffix: str) -> SetAside | None:
        """Return why a sound cannot be used. None: it can, as far as its header says."""
        if ".." in entry.name.split("/"):
            return SetAside(entry.name, "outside", "the name of the member leads out of the tar")
        if entry.kind != "file":
            return SetAside(entry.name, "not_regular_file", f"the member is a {entry.kind}, not a file")
        if entry.first + entry.size > self._size:
            missing = entry.first + entry.size - self._size
            return SetAside(entry.name, "truncated", f"the tar ends {missing:,} bytes before the member does")
        if suffix in CONVERTIBLE_SUFFIXES and (error := unsupported(entry.name)):
            return SetAside(entry.name, error.reason, error.detail)
        return None

    def _record(self, name: str) -> str:
        """Return what is written beside a sound as JSON. Raises ValueError if it is damaged."""
        folder, base = os.path.split(name)
        for key in (os.path.splitext(name)[0], name, os.path.join(folder, base.partition(".")[0])):
            if beside := self._beside.get(key):
                record = {}
                for suffix in sorted(beside, key=lambda suffix: suffix != ".json"):
                    record.update(self._fields(key, suffix, *beside[suffix]))
                text = json.dumps(record, ensure_ascii=False, separators=(",", ":")) if record else ""
                if not _is_utf8(text):
                    raise ValueError(f"what is beside it is not UTF-8: {', '.join(key + suffix for suffix in beside)}")
                return text
        return ""

    def _fields(self, key: str, suffix: str, first: int, size: int) -> dict[str, Any]:
        """Return the fields of one member beside a sound."""
        name = key + suffix
        if size > _MAX_BESIDE:
            raise ValueError(f"{name} has {size:,} bytes; must be at most {_MAX_BESIDE:,}")
        content = self._read_at(first, size)
        if len(content) < size:
            raise ValueError(f"{name} is cut off")
        text = content.decode("utf-8-sig", "surrogateescape").strip()
        if suffix != ".json":
            is_caption = suffix == ".txt"  # which nobody reads, so that it may be anything
            return {} if len(text) > _MAX_TEXT or (is_caption and not _is_utf8(text)) else {suffix[1:]: text}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is not JSON") from error
        fields = value if isinstance(value, dict) else {"json": value}
        return {name: kept for name, kept in fields.items() if _is_short(kept)}


def _relative(name: str) -> str:
    """Return the name of a member without what leads to the top: "./" and, as tar itself reads it, "/"."""
    while (shorter := name.lstrip("/").removeprefix("./")) != name:
        name = shorter
    return name


def is_hidden(name: str) -> bool:
    """Return whether a member is hidden, or was made by a file manager."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def _is_utf8(text: str) -> bool:
    """Return whether a text can be written: it holds no bytes of another encoding, and no half of a pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_short(value: Any) -> bool:
    """Return whether a value may be a label or a split: a short text, a number, or a list of them."""
    if isinstance(value, list):
        return len(value) <= _MAX_TEXT and all(not isinstance(item, list) and _is_short(item) for item in value)
    return value is not None and not isinstance(value, dict) and len(str(value)) <= _MAX_TEXT
