"""Read a folder of containers: tars, or Parquet files with sounds, such as a download from a hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.data.audio.formats import is_tar
from distill.data.audio.remote import Address
from distill.data.clips.containers.tars import read_tars
from distill.data.clips.manifest import Manifest
from distill.data.clips.split_folders import find_splits
from distill.data.clips.tables.listings import file_split, usable
from distill.data.clips.tables.opening import open_table
from distill.data.clips.tables.reading import Listing, read_listings
from distill.data.errors import UserError


def holds_sounds(table: Path) -> bool:
    """Return whether a Parquet file holds sounds and not only their names. Raises UserError for a damaged file."""
    return bool(open_table(table).sounds)


def read_containers(
    source: Path, names: Sequence[str], label: str = "", split: str = "", root: Path | Address | None = None
) -> Manifest:
    """Read the clips of the containers below a folder.

    Args:
        source: The folder.
        names: Paths of the tars and Parquet files, relative to it.
        label: Column of the labels, or field beside the sounds of tars. Empty: found by its name.
        split: Column or field of the splits. Empty: found by its name, or by the names of files and folders.
        root: Folder of the audio of tables that hold only names, or its address. None: the folder of the table.

    Raises:
        UserError: the folder has tars and Parquet files with sounds, or no container can be read.
    """
    tars = [name for name in names if is_tar(name)]
    tables = [name for name in names if name not in tars]
    if not tars:
        return _read_tables(source, tables, label, split, root)
    if root is not None:
        raise UserError(f"--data {source}: --root is for tables, and this folder has tars")
    if any(open_table(listing.table).sounds for listing in usable([Listing(source / name) for name in tables]).tables):
        raise UserError(f"--data {source}: holds tars and Parquet files with sounds; --data must be one kind of them")
    manifest = read_tars(source, tars, label, split)
    left_out = {**manifest.notes.left_out, "Parquet files": len(tables)}
    return Manifest(source, manifest.rows, replace(manifest.notes, left_out=left_out))


def _read_tables(source: Path, names: Sequence[str], label: str, split: str, root: Path | Address | None) -> Manifest:
    """Read the Parquet files that are tables of clips."""
    splits = find_splits([os.path.splitext(name)[0] for name in names], np.ones(len(names), np.int64)).splits
    listings = [
        Listing(source / name, "" if root else name[: name.rfind("/") + 1], part or file_split(name))
        for name, part in zip(names, splits, strict=True)
    ]
    found = usable(listings)
    if not found.tables:
        raise UserError(f"--data {source}: no audio in it; {found.remarks[0]}")
    manifest = read_listings(found.tables, source, root, label, split)
    return Manifest(source, manifest.rows, replace(manifest.notes, remarks=(*found.remarks, *manifest.notes.remarks)))
