"""The index of tars: what one pass over their headers found, kept so that the next start needs no pass.

It lies beside the tars, in the file `.distill_tars.npz`, or in the user's cache if their folder cannot be written or is
on another machine. It holds arrays and JSON, no objects. A tar whose size, time or version has changed is read again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.remote import Address, state_of
from distill.data.clips.containers.scanning import Scan, scan
from distill.data.clips.progress import with_progress
from distill.data.errors import UserError
from distill.data.files import write_atomically
from distill.data.store.format import SetAside
from distill.data.store.texts import Texts

INDEX = ".distill_tars.npz"
_VERSION = 1  # changes with the form of the file, and with what a scan takes in
_SAVE_SECONDS = 60  # of work that a kill can lose
_DAMAGES = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, MemoryError, zipfile.BadZipFile)

Stamp = tuple[int, int]
"""Size of a tar in bytes, and the time of its last change in nanoseconds, or a number of its version."""
_UNKNOWN = (-1, -1)


@dataclass(frozen=True)
class Index:
    """The sounds of several tars.

    Args:
        scans: What was found in each tar that can be read.
        refused: The other tars, each with the reason.
        file: Where the index is kept. None: nowhere, since no folder can be written.
        read: Number of tars that were read now, because they are new or changed.
    """

    scans: Mapping[Path | Address, Scan]
    refused: Mapping[Path | Address, str]
    file: Path | None
    read: int


def index_tars(root: Path | Address, tars: Sequence[Path | Address]) -> Index:
    """Return what tars hold. Only new and changed tars are read.

    Args:
        root: A folder that holds all tars.
        tars: The tars.
    """
    stamps = {os.path.relpath(tar, root): _stamp(tar) for tar in tars}
    file, known = _load(root, stamps)
    new = {os.path.relpath(tar, root): tar for tar in tars if os.path.relpath(tar, root) not in known}
    refused: dict[Path | Address, str] = {}
    saved = time.monotonic()
    try:
        for name, tar in with_progress(new.items(), "index", "tar", delay=1):
            try:
                known[name] = (stamps[name], scan(tar))
            except UserError as error:
                refused[tar] = str(error)
            if time.monotonic() - saved > _SAVE_SECONDS:
                file, saved = _save(root, known), time.monotonic()
    finally:  # also after Ctrl-C
        if len(new) > len(refused):
            file = _save(root, known)
    scans = {tar: known[os.path.relpath(tar, root)][1] for tar in tars if tar not in refused}
    return Index(scans, refused, file, len(new))


def _stamp(tar: Path | Address) -> Stamp:
    if isinstance(tar, Address):
        size, version = state_of(tar)
        return (size, version) if version > 1 else _UNKNOWN
    try:
        status = os.stat(tar)
    except OSError:  # the scan tells the reason
        return _UNKNOWN
    return status.st_size, status.st_mtime_ns


def _files(root: Path | Address) -> Iterator[Path]:
    """Yield where an index may lie: beside the tars, or in the user's cache."""
    if isinstance(root, Path):
        yield root / INDEX
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "audio-distill", "tars")
    place = os.path.realpath(root) if isinstance(root, Path) else root
    yield cache / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.npz"


def _load(root: Path | Address, stamps: Mapping[str, Stamp]) -> tuple[Path | None, dict[str, tuple[Stamp, Scan]]]:
    """Return the scans of tars that have not changed, and those of tars that were not asked for, with their file.

    An index that is damaged, or of another version, counts as none.
    """
    known: dict[str, tuple[Stamp, Scan]] = {}
    place = None
    for file in _files(root):
        try:
            for name, stamp, found in _read(file):
                if stamps.get(name, stamp) == stamp:
                    known[name] = (stamp, found)
            place = file
        except _DAMAGES:
            continue
    return place, known


def _save(root: Path | Address, known: Mapping[str, tuple[Stamp, Scan]]) -> Path | None:
    """Write an index to the first place where this is possible, and return the place. None: there is none."""
    kept = {name: entry for name, entry in known.items() if entry[0] != _UNKNOWN}
    if isinstance(root, Path):
        kept = {name: entry for name, entry in kept.items() if (root / name).exists()}
    arrays = _arrays(kept)
    for file in _files(root):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, lambda target: np.savez(target, **arrays))
            return file
        except OSError:
            continue
    return None


def _arrays(known: Mapping[str, tuple[Stamp, Scan]]) -> dict[str, Any]:
    """Return the arrays of an index: those of all tars, one after another."""
    scans = [found for _, found in known.values()]
    descriptions = [
        [name, *stamp, len(found.names), [astuple(clip) for clip in found.set_aside], dict(found.others), found.fault]
        for name, (stamp, found) in known.items()
    ]
    names, records = (Texts.joined([getattr(found, column) for found in scans]) for column in ("names", "records"))
    return {
        "version": np.array(_VERSION),
        "tars": np.frombuffer(json.dumps(descriptions).encode(), np.uint8),
        "firsts": np.concatenate([found.firsts for found in scans] or [np.zeros(0, np.int64)]),
        "sizes": np.concatenate([found.sizes for found in scans] or [np.zeros(0, np.int64)]),
        "names": names.data,
        "name_ends": names.ends,
        "records": records.data,
        "record_ends": records.ends,
    }


def _read(file: Path) -> Iterator[tuple[str, Stamp, Scan]]:
    """Yield the name, stamp and scan of each tar. Raises one of `_DAMAGES` for a file that is no index."""
    with zipfile.ZipFile(file) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed: it may take any memory")
    with np.load(file, allow_pickle=False) as arrays:
        if arrays["version"] != _VERSION:
            raise ValueError("another version")
        descriptions = json.loads(arrays["tars"].tobytes())
        firsts, sizes = (_integers(arrays[column]) for column in ("firsts", "sizes"))
        names, records = (_texts(arrays[f"{column}s"], arrays[f"{column}_ends"]) for column in ("name", "record"))
    if not len(firsts) == len(sizes) == len(names) == len(records) == sum(row[3] for row in descriptions):
        raise ValueError("columns of different lengths")
    begin = 0
    for name, size, changed, sounds, set_aside, others, fault in descriptions:
        part = slice(begin, begin + sounds)
        if ((firsts[part] < 0) | (sizes[part] < 0) | (firsts[part] > size) | (sizes[part] > size - firsts[part])).any():
            raise ValueError("a member lies outside its tar")
        unusable = tuple(SetAside(*map(str, clip)) for clip in set_aside)
        found = Scan(names[part], firsts[part], sizes[part], records[part], unusable, others, str(fault))
        yield name, (size, changed), found
        begin += sounds


def _texts(data: NDArray[Any], ends: NDArray[Any]) -> Texts:
    """Return texts from their columns. Raises ValueError if these do not fit each other."""
    steps = np.diff(_integers(ends), prepend=0, append=len(data))
    if data.dtype != np.uint8 or (steps < 0).any() or steps[-1]:
        raise ValueError("no texts")
    return Texts(data, ends)


def _integers(column: NDArray[Any]) -> NDArray[np.int64]:
    """Return a column that must hold integers. Raises ValueError."""
    if column.dtype != np.int64 or column.ndim != 1:
        raise ValueError(f"a column of {column.dtype}")
    return column
