"""Read the manifest of `--data`: a folder of audio, a table, a published data set, or containers of audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distill.data.audio.formats import is_tar
from distill.data.audio.remote import Address, is_address
from distill.data.clips.containers.hub import SCHEME, download
from distill.data.clips.containers.shards import holds_sounds, read_containers
from distill.data.clips.containers.tars import read_tars
from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import TABLE_SUFFIXES, read_table
from distill.data.clips.tables.listings import Entries, Listings, find_metadata, find_tables, tables_beside
from distill.data.clips.tables.reading import read_listings
from distill.data.errors import UserError
from distill.data.store.texts import TextIndex


@dataclass(frozen=True)
class Data:
    """Where clips are, and what a guess would get wrong.

    Args:
        path: A folder of audio, a table, the folder of a published data set, a tar, or a folder of tars or of Parquet
            files; hf://ORG/NAME for a data set of the Hugging Face hub; or an address, such as s3://BUCKET/FOLDER.
            "~" is the home folder.
        root: Folder of the audio of a table: its paths are relative to it, and its files must lie in it. Empty: the
            folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits or folds of a table. Empty: found by its name.
    """

    path: str | os.PathLike[str]
    root: str | os.PathLike[str] = ""
    label: str = ""
    split: str = ""

    def __post_init__(self) -> None:
        for name in ("path", "root"):
            object.__setattr__(self, name, os.path.expanduser(os.fspath(getattr(self, name))))

    @classmethod
    def of(
        cls, data: str | os.PathLike[str] | Data, root: str | os.PathLike[str] = "", label: str = "", split: str = ""
    ) -> Data:
        """Return one value from a path and the options beside it.

        Args:
            data: The path, or the value itself.
            root: Folder of the audio. Empty: that of `data`.
            label: Column of the labels. Empty: that of `data`.
            split: Column of the splits. Empty: that of `data`.
        """
        if not isinstance(data, Data):
            return cls(data, root, label, split)
        return cls(data.path, root or data.root, label or data.label, split or data.split)

    def as_options(self) -> dict[str, str]:
        """Return the options of the command line that say the same, by name."""
        return {"data": str(self.path), "root": str(self.root), "label": self.label, "split": self.split}


def read_manifest(data: str | os.PathLike[str] | Data, task: str = "auto") -> Manifest:
    """Read a folder of audio (recursively), a table, a published data set, tars, or Parquet files of audio.

    A table is CSV, TSV, JSONL or Parquet. Its columns are found by their names, as `tables.columns` lists them: of
    paths, relative to the table's folder, and optionally of ids, starts and ends (or durations) in seconds, labels, and
    splits or folds.

    Args:
        data: The data, as for `Data.path`, or what a guess of their meaning would get wrong too.
        task: Name of the published data set that the folder must be. "auto" recognises a data set by its files.

    Raises:
        UserError: the path does not exist or has no audio, or a table is wrong. The message names the line.
    """
    data = data if isinstance(data, Data) else Data(data)
    text = os.fspath(data.path)
    if text.startswith(SCHEME):
        manifest = read_manifest(replace(data, path=download(text, holds_sounds)), task)
        return _remarked(manifest, [f"downloaded from {text}"])
    if is_address(text):
        if task != "auto":
            raise UserError(f"--task {task}: must be auto for an address, but --data is {text}")
        from distill.data.clips.containers.addresses import read_address  # here, since few data lie elsewhere

        return read_address(text, os.fspath(data.root), data.label, data.split)
    source, root = Path(text), _root(data)
    if not source.exists():
        raise UserError(f"--data {source}: no such file or folder")
    if source.is_dir():
        return _read_folder(data, source, root, task)
    if task != "auto":
        raise UserError(f"--task {task}: must be auto for a file, but --data is {source}")
    if is_tar(source.name):
        if root is not None:
            raise UserError(f"--root {root}: is for tables, but --data is {source}")
        return read_tars(source, [], data.label, data.split)
    if source.suffix.lower() not in TABLE_SUFFIXES:
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise UserError(f"--data {source}: must be a folder of audio, a table ({known}) or a tar")
    manifest = read_table(source, root, data.label, data.split)
    if not manifest.rows:
        raise UserError(f"--data {source}: no audio in it, the table has no rows")
    return manifest


def _root(data: Data) -> Path | Address | None:
    """Return the folder of the audio. None: the user named none. Raises UserError if it does not exist."""
    text = os.fspath(data.root)
    if not text:
        return None
    if is_address(text):
        return Address(text.rstrip("/"))
    if not Path(text).is_dir():
        raise UserError(f"--root {text}: no such folder")
    return Path(text)


def _read_folder(data: Data, source: Path, root: Path | Address | None, task: str) -> Manifest:
    """Read a folder: its audio, a published data set, its audio as listed in its metadata, its tables or containers."""
    from distill.data.clips.data_folder import read_data_folder  # here, since a table needs no list of data sets
    from distill.data.clips.layouts import find_layout

    if task != "auto":
        return read_data_folder(source, task)
    entries = Entries.of(source)
    is_for_tables = any((data.root, data.label, data.split))
    if not is_for_tables and find_layout(source) is not None:
        return read_data_folder(source)
    metadata = Listings() if root else find_metadata(entries)
    remarks = metadata.remarks
    if metadata.tables:
        if (manifest := _with_metadata(data, source, metadata)) is not None:
            return manifest
        remarks = (*remarks, f"not read: {metadata.tables[0].table.name}, which lists none of the audio")
    has_only_tables = not (entries.holds_audio or entries.holds_tars or entries.folders)
    if (is_for_tables or has_only_tables) and (found := find_tables(entries)).tables:
        return _remarked(read_listings(found.tables, source, root, data.label, data.split), found.remarks)
    if is_for_tables:
        from distill.data.clips.folders import list_files

        files = list_files(source)
        if files.containers and not len(files.audio):
            return read_containers(source, files.containers, data.label, data.split, root)
        raise UserError(f"--data {source}: --root, --label and --split are for tables, and this folder has none")
    return _remarked(read_data_folder(source), (*remarks, *tables_beside(entries)))


def _with_metadata(data: Data, source: Path, metadata: Listings) -> Manifest | None:
    """Return the audio of a folder that its metadata list. None if they list none of it."""
    from distill.data.clips.folders import list_files
    from distill.data.clips.published.listed import UNLISTED

    manifest = read_listings(metadata.tables, source, None, data.label, data.split)
    rows, files = manifest.rows, list_files(source)
    names = rows.ids if rows.paths is None else (path.removeprefix(f"{source}/") for path in rows.paths)
    numbers = TextIndex(files.audio).find_all(names)
    if len(files.audio) and not (numbers >= 0).any():
        return None
    notes = manifest.notes
    if not manifest.classes:  # the folder of a clip may be its label, since the source is a folder
        notes = replace(notes, folder_labels=True, labels="")
    unlisted = len(files.audio) - len(np.unique(numbers[numbers >= 0]))
    remarks = (*metadata.remarks, *notes.remarks)
    notes = replace(
        notes, layout="folder with metadata", left_out={**notes.left_out, UNLISTED: unlisted}, remarks=remarks
    )
    return Manifest(source, rows, notes)


def _remarked(manifest: Manifest, remarks: Sequence[str]) -> Manifest:
    """Return a manifest with more remarks in its notes."""
    notes = replace(manifest.notes, remarks=(*remarks, *manifest.notes.remarks))
    return Manifest(manifest.source, manifest.rows, notes)
