"""Read the clips of tars: each sound is a clip, with the labels that are written beside it or in its folder's name."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.audio.parts import Parts
from distill.data.audio.remote import Address
from distill.data.clips.containers.index import Index, index_tars
from distill.data.clips.containers.scanning import Scan
from distill.data.clips.manifest import Category, Manifest, Rows
from distill.data.clips.split_folders import FolderSplits, find_splits
from distill.data.clips.summary import Notes
from distill.data.clips.tables.columns import find_columns, several_labels
from distill.data.clips.tables.labels import Cell, as_cell, parse_cells
from distill.data.clips.tables.reading import split_name
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import FewTexts, Texts

_CLASS = "cls"  # suffix of the class in WebDataset
_REMEMBERED = 1 << 12  # records that are read once, since few differ


@dataclass(frozen=True)
class Tar:
    """A tar and what it holds.

    Args:
        path: The file.
        prefix: Begins the ids of its clips: its path below the data and "/". Empty: it is the data.
        scan: Its sounds.
    """

    path: Path | Address
    prefix: str
    scan: Scan


def read_tars(source: Path | Address, names: Sequence[str], label: str = "", split: str = "") -> Manifest:
    """Read the clips of tars. A tar that is damaged or compressed is set aside; of one that is cut off, the rest.

    Args:
        source: A tar, or a folder of tars, or the address of either.
        names: Paths of the tars below the folder. Empty: `source` is the tar.
        label: Field of the labels in the text beside a sound, or the suffix of that text. Empty: found by its name.
        split: Field of the splits. Empty: found by its name, or by the folders' or tars' names.

    Raises:
        UserError: no tar can be read, none holds audio, or there is no field of a given name.
    """
    prefix_of = {_below(source, name): f"{name}/" for name in names} or {source: ""}
    root = source if names else type(source)(os.path.dirname(source))
    index = index_tars(root, list(prefix_of))
    refused = _refused(source, index, prefix_of)
    tars = [Tar(path, prefix_of[path], found) for path, found in index.scans.items()]
    return manifest_of(source, tars, refused, label, split)


def manifest_of(
    source: Path | Address, tars: Sequence[Tar], refused: Sequence[SetAside] = (), label: str = "", split: str = ""
) -> Manifest:
    """Return the clips of tars.

    Args:
        source: The data, for messages.
        tars: The tars that can be read.
        refused: The others.
        label: As for `read_tars`.
        split: As for `read_tars`.

    Raises:
        UserError: none holds audio, or there is no field of a given name.
    """
    scans = [tar.scan for tar in tars]
    counts = np.array([len(found.names) for found in scans], np.int64)
    set_aside = [*refused, *(clip for tar in tars for clip in _set_aside(tar))]
    if not counts.sum():
        reason = f"; {set_aside[0].id}: {set_aside[0].detail}" if set_aside else ""
        raise UserError(f"--data {source}: no audio in it{reason}")
    fields = _Fields.of(source, scans, label, split)
    folders = _Folders(tars) if fields.label is None or fields.split is None else None
    tar_of = np.repeat(np.arange(len(tars), dtype=np.int32), counts)
    splits, remark = fields.splits, ""
    if splits is None and folders is not None and any(folders.found.splits):
        splits, remark = folders.splits, folders.found.remark
    if splits is None:
        named = find_splits([os.path.splitext(tar.prefix.rstrip("/"))[0] for tar in tars], counts).splits
        splits = Category(tuple((name,) for name in named), tar_of)
        remark = "the splits are those in the names of the tars" if any(named) else ""
    rows = Rows(
        ids=Texts.of(tar.prefix + name for tar in tars for name in tar.scan.names),
        paths=FewTexts([str(tar.path) for tar in tars], tar_of),
        root=Path(source),
        starts=np.zeros(len(tar_of)),
        durations=np.full(len(tar_of), np.nan),
        labels=fields.labels,
        splits=splits,
        annotated=Category(((),), np.zeros(len(tar_of), np.int32)),
        parts=Parts(np.concatenate([s.firsts for s in scans]), np.concatenate([s.sizes for s in scans])),
        domains=fields.domains,
    )
    has_folders = fields.label is None and folders is not None and folders.names != ("",)
    notes = Notes(
        layout=f"{len(tars):,} tars in" if len(tars) > 1 or tars[0].prefix else "tar",
        labels=f"{fields.label!r} beside the sounds" if fields.label is not None else "",
        left_out=_left_out(scans),
        set_aside=set_aside,
        unread_columns=tuple(name for name in fields.header if name not in (fields.label, fields.split, fields.domain)),
        remarks=tuple(filter(None, (*fields.remarks, remark))),
        folder_labels=has_folders,
        label_of_folder=folders.label_of if folders is not None and has_folders else {},
    )
    return Manifest(source, rows, notes)


def _below(folder: Path | Address, name: str) -> Path | Address:
    """Return the path of a file below a folder."""
    return folder / name if isinstance(folder, Path) else Address(f"{folder}/{name}")


def _refused(source: Path | Address, index: Index, prefix_of: Mapping[Path | Address, str]) -> list[SetAside]:
    """Return the tars that cannot be read. Raises UserError if these are all."""
    reasons = list(index.refused.values())
    if not index.scans:
        others = f" (none of {len(reasons):,} tars can be read)" if len(reasons) > 1 else ""
        raise UserError(f"{reasons[0]}{others}")
    names = {path: prefix_of[path].rstrip("/") or os.path.basename(source) for path in index.refused}
    return [SetAside(names[path], "unreadable_tar", reason) for path, reason in index.refused.items()]


def _set_aside(tar: Tar) -> list[SetAside]:
    """Return the sounds of a tar that cannot be used, and the end of a tar that is damaged."""
    clips = [SetAside(tar.prefix + clip.id, clip.reason, clip.detail) for clip in tar.scan.set_aside]
    name = tar.prefix.rstrip("/") or Path(tar.path).name
    return [*clips, SetAside(name, "damaged_tar", tar.scan.fault)] if tar.scan.fault else clips


def _left_out(scans: Sequence[Scan]) -> dict[str, int]:
    """Return the number of members that are no sounds, by their suffix in words."""
    others: Counter[str] = Counter()
    for found in scans:
        others.update(found.others)
    return {f"{name} members" if name.startswith(".") else name: count for name, count in others.most_common()}


@lru_cache(_REMEMBERED)
def _record(text: str) -> Mapping[str, Any]:
    """Return the fields of a record of a scan."""
    record = json.loads(text) if text else {}
    return record if isinstance(record, dict) else {}


@dataclass(frozen=True)
class _Fields:
    """The labels, splits and domains that are written beside sounds.

    Args:
        header: Names of all fields.
        label: The field of the labels. None: there is none.
        split: The field of the splits. None: there is none.
        domain: The field of the domains. None: there is none.
        labels: Names of the classes of each sound.
        splits: Split of each sound. None: there is no such field.
        domains: Domain of each sound. None: there is no such field.
        remarks: Rules that were applied, in words.
    """

    header: tuple[str, ...]
    label: str | None
    split: str | None
    domain: str | None
    labels: Category
    splits: Category | None
    domains: Category | None
    remarks: tuple[str, ...]

    @classmethod
    def of(cls, source: Path | Address, scans: Sequence[Scan], label: str, split: str) -> _Fields:
        """Read the records of scans. Raises UserError for a field that does not exist, or that holds no labels."""
        header: dict[str, None] = {}
        for text in (text for found in scans for text in found.records):
            header.update(dict.fromkeys(_record(text)))
        columns = find_columns(source, tuple(header), label, split)
        name = _CLASS if columns.label is None and _CLASS in header else columns.label
        cells: dict[Cell, int] = {}
        cell_of = array("i")
        for text in (text for found in scans for text in found.records):
            try:
                cell = as_cell(_record(text).get(name)) if name is not None else ""
            except ValueError as error:
                raise UserError(f"--data {source}: in the field {name!r}, {error}") from error
            cell_of.append(cells.setdefault(cell, len(cells)))
        parsed = parse_cells(source, name or "", list(cells), several_labels(name or ""))
        return cls(
            tuple(header),
            name,
            columns.split,
            columns.domain,
            Category(parsed.labels, np.frombuffer(cell_of, np.int32)),
            _names(scans, columns.split, split_name),
            _names(scans, columns.domain, str.strip),
            parsed.remarks,
        )


def _names(scans: Sequence[Scan], field: str | None, read: Callable[[str], str]) -> Category | None:
    """Return one name of each sound, "" if it has none. None: there is no such field.

    Args:
        scans: What was found in each tar.
        field: Name of the field.
        read: Function of the text of a field that returns the name.
    """
    if field is None:
        return None
    names: dict[str, int] = {}
    name_of = array("i")
    for text in (text for found in scans for text in found.records):
        value = _record(text).get(field)
        name_of.append(names.setdefault("" if value is None else read(str(value)), len(names)))
    return Category(tuple((name,) for name in names), np.frombuffer(name_of, np.int32))


class _Folders:
    """The folders of the sounds inside tars.

    Args:
        tars: The tars.

    Attributes:
        names: The folders, "" for the top.
        found: Their splits and labels.
        splits: Split of each sound.
        label_of: Label of the clips in a folder, by the folder of their ids.
    """

    def __init__(self, tars: Sequence[Tar]) -> None:
        numbers: dict[str, int] = {}
        folder_of = array("i")
        for name in (name for tar in tars for name in tar.scan.names):
            folder_of.append(numbers.setdefault(name[: max(0, name.rfind("/"))], len(numbers)))
        codes = np.frombuffer(folder_of, np.int32)
        self.names = tuple(numbers)
        self.found: FolderSplits = find_splits(self.names, np.bincount(codes, minlength=len(numbers)))
        self.splits = Category(tuple((split,) for split in self.found.splits), codes)
        self.label_of = {
            Path(tar.prefix + folder).as_posix(): self.found.labels.get(folder or ".", folder or ".")
            for tar in tars
            for folder in self.names
        }
