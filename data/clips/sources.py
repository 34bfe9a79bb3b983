"""Read the manifest of `--data`: a folder of audio, a table, or a published data set."""

from __future__ import annotations

import os
from pathlib import Path

from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import TABLE_SUFFIXES, read_table
from distill.data.errors import UserError


def read_manifest(data: str | os.PathLike[str], task: str = "auto") -> Manifest:
    """Read a folder of audio (recursively), a CSV, TSV, JSONL or Parquet table, or a published data set.

    A table has a column `path` (or `file_name`, `filename`), relative to the table's folder. Optional columns are `id`,
    `start` and `end` (or `duration`) in seconds, `label` or `labels` (joined by ","), `split` or `fold`.

    Args:
        data: The folder or table.
        task: Name of the published data set that the folder must be. "auto" recognises a data set by its files.

    Raises:
        UserError: the path does not exist or has no audio, or a row is wrong. The message names the line.
    """
    source = Path(data)
    if not source.exists():
        raise UserError(f"--data {source}: no such file or folder")
    if source.is_dir():
        from distill.data.clips.data_folder import read_data_folder  # here, since a table needs no list of data sets

        return read_data_folder(source, task)
    if task != "auto":
        raise UserError(f"--task {task}: must be auto for a table, but --data is {source}")
    if source.suffix.lower() not in TABLE_SUFFIXES:
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise UserError(f"--data {source}: must be a folder of audio or a table ({known})")
    manifest = read_table(source, root=source.parent)
    if not manifest.rows:
        raise UserError(f"--data {source}: no audio in it, the table has no rows")
    return manifest
