"""Read the manifest of `--data`: a folder of audio, a table, or a published data set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.summary import Notes
from distill.data.clips.tables import TABLE_SUFFIXES, read_table
from distill.data.errors import UserError

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"}


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
    from distill.data.clips.layouts import find_layout, read_layout

    layout = find_layout(source) if task == "auto" and source.is_dir() else task
    if layout not in (None, "auto"):
        return read_layout(str(layout), source)
    if source.is_dir():
        if any((data.root, data.label, data.split)):
            raise UserError(f"--data {source}: --root, --label and --split are for tables, and this is a folder")
        manifest = _scan_folder(source)
    elif source.suffix.lower() in TABLE_SUFFIXES:
        manifest = read_table(source, Path(data.root) if data.root else None, data.label, data.split)
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
    return Manifest(root, rows, Notes("folder"))
