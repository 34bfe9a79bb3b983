"""Read data of another machine, such as s3://bucket/folder: its audio, its tars, or a table of its audio."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES, is_tar
from distill.data.audio.remote import Address, file_system, version_of
from distill.data.clips.containers.scanning import is_hidden
from distill.data.clips.containers.tars import read_tars
from distill.data.clips.folders import Files, read_folder
from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import TABLE_SUFFIXES
from distill.data.clips.tables.reading import Listing, read_listings
from distill.data.errors import UserError, first_line
from distill.data.store.texts import Texts


def read_address(address: str, root: str = "", label: str = "", split: str = "") -> Manifest:
    """Read the clips at an address. Sounds are read one by one, when they are needed.

    Args:
        address: A folder of audio or tars, a tar, or a table.
        root: Address of the folder of the audio of a table. Empty: the folder of the table.
        label: Column of the labels of a table, or field beside the sounds of tars. Empty: found by its name.
        split: Column or field of the splits. Empty: found by its name.

    Raises:
        UserError: nothing of this kind is there, or the machine cannot be reached.
    """
    system, path = file_system(address)
    address = address.rstrip("/")
    try:
        is_file = system.isfile(path)
        facts = {"": system.info(path)} if is_file else _facts(system, path)
    except Exception as error:  # each package has its own
        raise UserError(f"--data {address}: {first_line(error)}") from error
    manifest = _read(system, path, address, None if is_file else list(facts), root, label, split)
    if all(map(version_of, facts.values())):
        return manifest
    remarks = (*manifest.notes.remarks, "its files have no version, so an update sees only a change of their size")
    return Manifest(manifest.source, manifest.rows, replace(manifest.notes, remarks=remarks))


def _read(
    system: Any, path: str, address: str, names: Sequence[str] | None, root: str, label: str, split: str
) -> Manifest:
    """Read a file, or a folder that holds files of these names."""
    is_file = names is None
    suffix = PurePosixPath(path).suffix.lower()
    if is_file and is_tar(path):
        return read_tars(Address(address), [], label, split)
    if is_file and suffix in TABLE_SUFFIXES and suffix != ".parquet":
        return _read_table(system, path, address, root, label, split)
    if names is None or not names:
        known = ", ".join(sorted(TABLE_SUFFIXES - {".parquet"}))
        raise UserError(f"--data {address}: must be a folder of audio or tars, a tar, or a table ({known})")
    if root:
        raise UserError(f"--data {address}: --root is for tables, and this is a folder")
    if any(PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES for name in names):
        return _read_folder(address, names)
    if tars := [name for name in names if is_tar(name)]:
        return read_tars(Address(address), tars, label, split)
    hint = "; Parquet files must be downloaded first" if any(name.endswith(".parquet") for name in names) else ""
    raise UserError(f"--data {address}: no audio in it{hint}")


def _facts(system: Any, path: str) -> dict[str, dict[str, Any]]:
    """Return what is known of the files below a folder, by their paths in it, in order. Hidden ones are left out."""
    prefix = path.rstrip("/") + "/"
    found = ((name[len(prefix) :], facts) for name, facts in system.find(path, detail=True).items())
    return {name: facts for name, facts in sorted(found, key=lambda pair: pair[0]) if name and not is_hidden(name)}


def _read_folder(address: str, names: Sequence[str]) -> Manifest:
    """Return the audio of a folder."""
    suffixes = {name: PurePosixPath(name).suffix.lower() for name in names}
    audio = [name for name in names if suffixes[name] in AUDIO_SUFFIXES]
    folders: dict[str, int] = {}
    folder_of = [folders.setdefault(name[: max(0, name.rfind("/"))], len(folders)) for name in audio]
    files = Files(
        Path(address),
        Texts.of(audio),
        tuple(folders),
        np.array(folder_of, np.int32),
        Texts.of(name for name in names if suffixes[name] in CONVERTIBLE_SUFFIXES),
        containers=tuple(filter(is_tar, names)),
    )
    manifest = read_folder(files)
    paths = Texts.of(f"{address}/{name}" for name in audio)
    return Manifest(Address(address), replace(manifest.rows, paths=paths), manifest.notes)


def _read_table(system: Any, path: str, address: str, root: str, label: str, split: str) -> Manifest:
    """Return the clips of a table, whose files lie at addresses too."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, PurePosixPath(path).name)
        try:
            system.get_file(path, str(table))
        except Exception as error:
            raise UserError(f"--data {address}: {first_line(error)}") from error
        try:
            manifest = read_listings([Listing(table)], table, Address(root or os.path.dirname(address)), label, split)
        except UserError as error:
            raise UserError(str(error).replace(str(table), address)) from error
    return Manifest(Address(address), manifest.rows, manifest.notes)
