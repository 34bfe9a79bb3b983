"""Find the tables of a folder: metadata beside audio, or a folder of tables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from distill.data.audio.formats import AUDIO_SUFFIXES, is_tar
from distill.data.clips.tables.columns import find_columns, listed
from distill.data.clips.tables.opening import TABLE_SUFFIXES, open_table
from distill.data.clips.tables.reading import Listing, split_name
from distill.data.clips.tables.sounds import with_sounds
from distill.data.errors import UserError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # as in audio folders of Hugging Face
_SPLITS = ("training", "validation", "test")
_SHARD = re.compile(r"-\d+-of-\d+(-\w+)?$")  # ends the names of the shards of a data set
_MAX_FAULTS = 3  # tables that a remark names


@dataclass(frozen=True)
class Listings:
    """The tables of a folder.

    Args:
        tables: Tables of clips.
        remarks: Files that are not tables of clips, in words.
    """

    tables: tuple[Listing, ...] = ()
    remarks: tuple[str, ...] = ()


class Entries(NamedTuple):
    """What lies in a folder. Hidden files do not count.

    Args:
        folder: The folder.
        tables: Names of the files with one of `TABLE_SUFFIXES`, sorted.
        folders: Names of the folders, sorted.
        holds_audio: Whether there is an audio file.
        holds_tars: Whether there is a tar.
    """

    folder: Path
    tables: tuple[str, ...]
    folders: tuple[str, ...]
    holds_audio: bool
    holds_tars: bool = False

    @classmethod
    def of(cls, folder: Path) -> Entries:
        """Return what lies in a folder, which may hold millions of files."""
        tables, folders, holds_audio, holds_tars = [], [], False, False
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    suffix = os.path.splitext(entry.name)[1].lower()
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        folders.append(entry.name)
                    elif suffix in TABLE_SUFFIXES:
                        tables.append(entry.name)
                    else:
                        holds_audio = holds_audio or suffix in AUDIO_SUFFIXES
                        holds_tars = holds_tars or is_tar(entry.name)
        except OSError as error:
            raise UserError(f"--data {folder}: {error.strerror}") from error
        return cls(folder, tuple(sorted(tables)), tuple(sorted(folders)), holds_audio, holds_tars)


def find_metadata(entries: Entries) -> Listings:
    """Return the metadata of the audio in a folder. It lies in the folder, or in its sub-folders, such as `train`."""
    folder, name = entries.folder, _metadata(entries.folder)
    if name:
        return usable([Listing(folder / name)])
    names = ((place, _metadata(folder / place)) for place in entries.folders)
    return usable([Listing(folder / place / name, f"{place}/", _split(place)) for place, name in names if name])


def find_tables(entries: Entries) -> Listings:
    """Return the tables that lie in a folder. The split of `train.csv` is "training"."""
    folder = entries.folder
    return usable([Listing(folder / name, "", file_split(name)) for name in entries.tables])


def tables_beside(entries: Entries) -> tuple[str, ...]:
    """Return a remark about tables that lie beside the audio of a folder and are not read. Empty: there are none."""
    names = [name for name in entries.tables if name not in METADATA]
    for name in names[:_MAX_FAULTS]:  # of many texts, the first are opened
        if not _fault(entries.folder / name):
            return (f"tables beside the audio, such as {name}, are not read; --root {entries.folder} reads them",)
    return ()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _metadata(folder: Path) -> str:
    """Return the name of the metadata in a folder. Empty: there is none."""
    return next((name for name in METADATA if (folder / name).is_file()), "")


def file_split(name: str) -> str:
    """Return the split that a table is named for: "training" for `train-00000-of-00002.parquet`. Empty: none."""
    return _split(_SHARD.sub("", Path(name).stem))


def _split(name: str) -> str:
    """Return the split that a file or folder is named for. Empty: it is not named for a split."""
    split = split_name(name)
    return split if split in _SPLITS else ""


def usable(found: Sequence[Listing]) -> Listings:
    """Return the tables that can be read, and the faults of the others."""
    tables, faults = [], []
    for listing in found:
        if fault := _fault(listing.table):
            faults.append(fault)
        else:
            tables.append(listing)
    more = [f"{len(faults) - _MAX_FAULTS:,} more files are not tables of clips"] if len(faults) > _MAX_FAULTS else []
    return Listings(tuple(tables), (*faults[:_MAX_FAULTS], *more))


def _fault(table: Path) -> str:
    """Return in words why a file is not a table of clips. Empty: it is one."""
    try:
        file = open_table(table)
        header = file.header
        columns = with_sounds(file, find_columns(table, header))
    except UserError as error:
        return f"not read: {error}"
    if columns.paths or (columns.start is not None and columns.end is not None):
        return ""
    return f"not read: {table.name}, which has no column of audio files (its columns are {listed(header[:5])})"
