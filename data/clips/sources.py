"""Read the manifest of `--data`: a folder of audio, a table, or a published data set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import TABLE_SUFFIXES, read_table
from distill.data.errors import UserError


@dataclass(frozen=True)
class Data:
    """Where clips are, and what a guess would get wrong.

    Args:
        path: A folder of audio, a table, or the folder of a published data set. "~" is the home folder.
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


def read_manifest(data: str | os.PathLike[str] | Data, task: str = "auto") -> Manifest:
    """Read a folder of audio (recursively), a CSV, TSV, JSONL or Parquet table, or a published data set.

    The columns of a table are found by their names, as `tables.columns` lists them: of paths, relative to the table's
    folder, and optionally of ids, starts and ends (or durations) in seconds, labels, and splits or folds.

    Args:
        data: The folder or table, or what a guess of its meaning would get wrong too.
        task: Name of the published data set that the folder must be. "auto" recognises a data set by its files.

    Raises:
        UserError: the path does not exist or has no audio, or a table is wrong. The message names the line.
    """
    data = data if isinstance(data, Data) else Data(data)
    source = Path(data.path)
    if not source.exists():
        raise UserError(f"--data {source}: no such file or folder")
    if data.root and not Path(data.root).is_dir():
        raise UserError(f"--root {data.root}: no such folder")
    if source.is_dir():
        from distill.data.clips.data_folder import read_data_folder  # here, since a table needs no list of data sets

        if any((data.root, data.label, data.split)):
            raise UserError(f"--data {source}: --root, --label and --split are for tables, and this is a folder")
        return read_data_folder(source, task)
    if task != "auto":
        raise UserError(f"--task {task}: must be auto for a table, but --data is {source}")
    if source.suffix.lower() not in TABLE_SUFFIXES:
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise UserError(f"--data {source}: must be a folder of audio or a table ({known})")
    manifest = read_table(source, Path(data.root) if data.root else None, data.label, data.split)
    if not manifest.rows:
        raise UserError(f"--data {source}: no audio in it, the table has no rows")
    return manifest
