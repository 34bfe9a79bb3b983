"""Read the manifest of `--data`: a folder of audio, a table, or a published data set."""

from __future__ import annotations

import os
from pathlib import Path

from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.tables import TABLE_SUFFIXES, read_table
from distill.data.errors import UserError

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"}


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
    from distill.data.clips.layouts import find_layout, read_layout

    layout = find_layout(source) if task == "auto" and source.is_dir() else task
    if layout not in (None, "auto"):
        return read_layout(str(layout), source)
    if source.is_dir():
        manifest = _scan_folder(source)
    elif source.suffix.lower() in TABLE_SUFFIXES:
        manifest = read_table(source, root=source.parent)
    else:
        known = ", ".join(sorted(TABLE_SUFFIXES))
        raise UserError(f"--data {source}: must be a folder of audio or a table ({known})")
    if not manifest.rows:
        raise UserError(f"--data {source}: no audio in it (looked for {', '.join(sorted(AUDIO_SUFFIXES))})")
    return manifest


def _scan_folder(root: Path) -> Manifest:
    # os.walk does not follow links to folders, so a link to a parent does not loop.
    rows = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES and not name.startswith("."):
                path = Path(folder, name)
                rows.append(Row(id=path.relative_to(root).as_posix(), path=path))
    return Manifest(root, rows)
