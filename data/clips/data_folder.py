"""Read a folder: a published data set, a folder above one, or a folder of audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from distill.data.clips.containers.shards import read_containers
from distill.data.clips.folders import Files, list_files, read_folder
from distill.data.clips.layouts import LIST_NAMES, Found, find_below, find_layout, incomplete, read_layout
from distill.data.clips.manifest import Manifest
from distill.data.clips.published.listed import UNLISTED
from distill.data.store.texts import TextIndex

_MAX_SETS = 4  # data sets that a remark names


def read_data_folder(source: Path, task: str = "auto") -> Manifest:
    """Read a folder of audio, of containers of audio, or of a published data set.

    A data set is looked for in the folder and at most two levels below it. If the folder holds one data set and no
    other audio, the data set is read. If it holds more, all audio is read, without labels and splits.

    Args:
        source: The folder.
        task: Name of the published data set that the folder must hold. "auto" recognises it by its files.

    Raises:
        UserError: the folder cannot be opened, has no audio, or does not hold the named data set.
    """
    name = find_layout(source) if task == "auto" else task
    if name is not None:
        return read_layout(name, source)
    files = list_files(source, LIST_NAMES)
    if files.containers and not len(files.audio):
        return read_containers(source, files.containers)
    found = find_below(files)
    if len(found) == 1 and (manifest := _read_only_set(files, found[0])) is not None:
        return manifest
    manifest = read_folder(files, unlabelled=bool(found))
    remark = _choices(source, found) if found else incomplete(source)
    notes = manifest.notes
    return Manifest(source, manifest.rows, replace(notes, remarks=(*notes.remarks, remark)) if remark else notes)


def _read_only_set(files: Files, found: Found) -> Manifest | None:
    """Return the only data set below a folder. None if the folder holds other audio beside it."""
    root, clips = files.root / found.folder, len(files.audio)
    inside = files.below(found.folder)
    if 0 < inside < clips:
        return None
    remark = f"found in {found.folder}/"
    if inside == clips:
        manifest = read_layout(found.task, root)
        return _with_notes(manifest, remark, {})
    # Its lists lie apart from its audio, as when each archive is unpacked into a folder of its own.
    manifest = read_layout(found.task, root, audio_root=files.root)
    listed = int((TextIndex(files.audio).find_all(manifest.ids) >= 0).sum())
    return _with_notes(manifest, remark, {UNLISTED: clips - listed}) if listed else None


def _with_notes(manifest: Manifest, remark: str, left_out: dict[str, int]) -> Manifest:
    notes = manifest.notes
    notes = replace(notes, remarks=(remark, *notes.remarks), left_out={**notes.left_out, **left_out})
    return Manifest(manifest.source, manifest.rows, notes)


def _choices(source: Path, found: Sequence[Found]) -> str:
    """Return in words why no data set was read, and which ones can be named."""
    sets = [f"--data {source / one.folder} ({one.task})" for one in found[:_MAX_SETS]]
    more = f" and {len(found) - _MAX_SETS} more" if len(found) > _MAX_SETS else ""
    return f"read as one folder without labels and splits; to read those of a data set: {' or '.join(sets)}{more}"
