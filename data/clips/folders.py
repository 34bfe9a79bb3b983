"""List the audio below a folder, without an object for each file."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, is_tar, unsupported
from distill.data.clips.manifest import Category, Manifest, Rows
from distill.data.clips.split_folders import FolderSplits, find_splits
from distill.data.clips.summary import Notes
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import Texts

_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}  # copies and thumbnails that no user made


@dataclass(frozen=True)
class Files:
    """The files below a folder, in the order of their names. Paths are relative to the folder.

    Args:
        root: The folder.
        audio: Files with a suffix of `AUDIO_SUFFIXES`.
        folders: Folders that hold audio, "" for the root.
        folder_of: Number of the folder of each audio file, int32. Shape (audio files,).
        convertible: Files with a suffix of `CONVERTIBLE_SUFFIXES`.
        lists: Files with one of the names that the search was given.
        unopened: Folders that cannot be opened, with the reason.
        links: Number of links to folders that are listed already, or that hold `root`.
        containers: Tars and Parquet files.
    """

    root: Path
    audio: Texts
    folders: tuple[str, ...]
    folder_of: NDArray[np.int32]
    convertible: Texts
    lists: tuple[str, ...] = ()
    unopened: Mapping[str, str] = field(default_factory=dict)
    links: int = 0
    containers: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of audio files in each of `folders`, without its sub-folders."""
        return np.bincount(self.folder_of, minlength=len(self.folders))

    @property
    def set_aside(self) -> Sequence[SetAside]:
        """What cannot be read: audio that must be converted, and folders that cannot be opened."""
        return _Unread(self)

    @property
    def left_out(self) -> dict[str, int]:
        """Number of what is left out without being listed, by the reason in words."""
        tars = sum(map(is_tar, self.containers)) if len(self.audio) else 0
        return {"links to folders that are listed already": self.links, "tars beside the audio": tars}

    def below(self, folder: str) -> int:
        """Return the number of audio files below one folder, its sub-folders included."""
        inside = [not folder or name == folder or name.startswith(f"{folder}/") for name in self.folders]
        return int(self.counts[inside].sum())


def list_files(root: Path, lists: Collection[str] = ()) -> Files:
    """List the audio below a folder.

    Hidden files and those of file managers are left out. A link to a folder is followed, unless it leads to a folder
    that is listed already or that holds `root`.

    Args:
        root: The folder.
        lists: Names of other files to find, such as "metadata.csv".

    Raises:
        UserError: the folder itself cannot be opened.
    """
    search = _Search(root, frozenset(lists))
    return search.files()


def read_folder(files: Files, unlabelled: bool = False) -> Manifest:
    """Return the audio of a folder. Folders that are named like splits become splits.

    Args:
        files: The files of the folder.
        unlabelled: Whether the names of folders are neither labels nor splits.

    Raises:
        UserError: there is no audio that can be read.
    """
    if not len(files.audio):
        raise UserError(f"--data {files.root}: no audio in it{_instead(files)}")
    found = FolderSplits(("",) * len(files.folders)) if unlabelled else find_splits(files.folders, files.counts)
    notes = Notes(
        "folder",
        left_out=files.left_out,
        set_aside=files.set_aside,
        remarks=(found.remark,) if found.remark else (),
        folder_labels=not unlabelled,
        label_of_folder=found.labels,
    )
    names = tuple(dict.fromkeys(found.splits))
    split_of_folder = np.array([names.index(name) for name in found.splits], np.int32)
    clips = len(files.audio)
    rows = Rows(
        ids=files.audio,
        paths=None,
        root=files.root,
        starts=np.zeros(clips),
        durations=np.full(clips, np.nan),
        labels=_empty(clips),
        splits=Category(tuple((name,) for name in names), split_of_folder[files.folder_of]),
        annotated=_empty(clips),
    )
    return Manifest(files.root, rows, notes)


def _empty(clips: int) -> Category:
    return Category(((),), np.zeros(clips, np.int32))


def _instead(files: Files) -> str:
    """Return what the folder holds instead of audio that can be read, for a message."""
    if not len(files.set_aside):
        return f" (looked for {', '.join(sorted(AUDIO_SUFFIXES))})"
    first = files.set_aside[0]
    if not len(files.convertible):
        return f"; {first.id}: {first.detail}"
    suffixes = Counter(os.path.splitext(name)[1].lower() for name in files.convertible)
    counts = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())
    return f" that can be read, but {counts}; {first.detail}"


class _Unread(Sequence[SetAside]):
    """What of a folder cannot be read. Each item is made when it is read, since there may be millions."""

    def __init__(self, files: Files) -> None:
        self._root, self._convertible = files.root, files.convertible
        self._unopened = tuple(files.unopened.items())

    def __len__(self) -> int:
        return len(self._unopened) + len(self._convertible)

    @overload
    def __getitem__(self, place: int) -> SetAside: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[SetAside]: ...
    def __getitem__(self, place: int | slice) -> SetAside | Sequence[SetAside]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number = range(len(self))[place]
        if number < len(self._unopened):
            folder, reason = self._unopened[number]
            return SetAside(folder, "permission", f"the folder cannot be opened ({reason})")
        name = self._convertible[number - len(self._unopened)]
        error = unsupported(self._root / name)
        assert error is not None
        return SetAside(name, error.reason, error.detail)


class _Search:
    """One walk through a folder, each folder before its sub-folders."""

    def __init__(self, root: Path, lists: frozenset[str]) -> None:
        self.root, self.wanted = root, lists
        self.audio, self.convertible = _Names(), _Names()
        self.folders: list[str] = []
        self.folder_of = array("i")
        self.lists: list[str] = []
        self.unopened: dict[str, str] = {}
        self.links = 0
        self.containers: list[str] = []
        self._linked = [os.path.realpath(root)]  # real paths of the root and of all links that were followed

    def files(self) -> Files:
        """Walk, and return what was found. Raises UserError if the root cannot be opened."""
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            try:
                with os.scandir(self.root / prefix) as entries:
                    subfolders = self._folder(prefix, entries)
            except OSError as error:
                if not prefix:
                    raise UserError(f"--data {self.root}: cannot be opened ({error.strerror})") from error
                self.unopened[prefix.rstrip("/")] = error.strerror or type(error).__name__
                continue
            waiting += (f"{prefix}{name}/" for name in sorted(subfolders, reverse=True))
        return Files(
            self.root,
            self.audio.texts(),
            tuple(self.folders),
            np.frombuffer(self.folder_of, np.int32),
            self.convertible.texts(),
            tuple(self.lists),
            self.unopened,
            self.links,
            tuple(self.containers),
        )

    def _folder(self, prefix: str, entries: Iterator[os.DirEntry[str]]) -> list[str]:
        """Add the files of one folder. Return the names of its sub-folders."""
        audio, convertible, containers, lists, subfolders = [], [], [], [], []
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if _is_folder(entry):
                if name not in _SYSTEM_FOLDERS and (not entry.is_symlink() or self._follows(entry.path)):
                    subfolders.append(name)
            elif (suffix := name[name.rfind(".") :].lower()) in AUDIO_SUFFIXES:
                audio.append(name)
            elif suffix in CONVERTIBLE_SUFFIXES:
                convertible.append(name)
            elif name in self.wanted:
                lists.append(prefix + name)
            elif suffix == ".parquet" or is_tar(name):
                containers.append(prefix + name)
        self.containers += sorted(containers)
        self.lists += sorted(lists)
        self.convertible.add(prefix, sorted(convertible))
        if audio:
            self.audio.add(prefix, sorted(audio))
            self.folder_of.extend([len(self.folders)] * len(audio))
            self.folders.append(prefix.rstrip("/"))
        return subfolders

    def _follows(self, link: str) -> bool:
        """Return whether a link to a folder is followed."""
        target = os.path.realpath(link)
        follows = not _holds(target, self._linked[0]) and not any(_holds(base, target) for base in self._linked)
        if follows:
            self._linked.append(target)
        else:
            self.links += 1
        return follows


class _Names:
    """Texts that are collected."""

    def __init__(self) -> None:
        self._data, self._ends = bytearray(), array("q")

    def add(self, prefix: str, names: Sequence[str]) -> None:
        for name in names:
            self._data += (prefix + name).encode("utf-8", "surrogateescape")
            self._ends.append(len(self._data))

    def texts(self) -> Texts:
        return Texts(np.frombuffer(self._data, np.uint8), np.frombuffer(self._ends, np.int64))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _holds(folder: str, path: str) -> bool:
    """Return whether a path is a folder or lies below it. Both are real paths."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
