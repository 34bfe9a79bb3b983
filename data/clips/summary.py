"""The notes of a reader on its data, and the line that says before work what was understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distill.data.audio.read import as_text
from distill.data.store.format import SetAside

if TYPE_CHECKING:  # the manifest holds the notes
    from distill.data.clips.manifest import Category, Manifest

_MAX_NAMES = 8  # names in one list of the line


@dataclass(frozen=True)
class Notes:
    """What a reader understood of the data, beside the clips.

    Args:
        layout: Kind of the data: "folder", "table", or the name of a published data set. Empty: not read from a file.
        labels: Where the labels come from, such as "column 'species'". Empty: it needs no word.
        left_out: Number of files or clips that are not in the manifest, by the reason in words. Zeros are not said.
        set_aside: Listed clips that cannot be used, with the reasons. They are not in the manifest.
        unread_columns: Columns of a table that are not read.
        remarks: Choices of the reader, each in words.
        folder_labels: Whether the name of a clip's folder may be its label.
        label_of_folder: Label of the clips in a folder, where it is not the folder's path below the root.
    """

    layout: str = ""
    labels: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    set_aside: Sequence[SetAside] = ()
    unread_columns: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    folder_labels: bool = True
    label_of_folder: Mapping[str, str] = field(default_factory=dict)


def summary_of(manifest: Manifest) -> str:
    """Return one line that says what was understood: layout, clips, hours, classes, splits, and what was left out.

    The hours are those of the windows. They are not said if a clip has no window, since its file would be opened.
    """
    notes, rows = manifest.notes, manifest.rows
    parts = [f"{len(rows):,} clips"]
    if len(rows) and not np.isnan(rows.durations).any():
        parts.append(_hours(float(rows.durations.sum())))
    parts.append(_labels(manifest))
    splits = _counts(rows.splits)
    parts.append(f"splits: {_some(splits)}" if splits else "no splits")
    if rows.domains is not None:
        parts.append(f"domains: {_some(_counts(rows.domains)) or 'unknown'}")
    line = f"data: {notes.layout or 'clips'} {as_text(manifest.source)}: {', '.join(parts)}"
    left_out = [f"{count:,} {reason}" for reason, count in notes.left_out.items() if count]
    reasons: dict[str, int] = {}
    for clip in notes.set_aside:
        reasons[clip.reason] = reasons.get(clip.reason, 0) + 1
    left_out += [f"{count:,} {reason}" for reason, count in reasons.items()]
    sentences = [f"left out: {_some(left_out)}"] if left_out else []
    if notes.unread_columns:
        sentences.append(f"columns not read: {_some(notes.unread_columns)}")
    return as_text("; ".join([line, *sentences, *notes.remarks]))


def _counts(column: Category) -> list[str]:
    """Return each name of a column with its number of clips. Empty names are not counted."""
    counts = Counter[str]()
    for (name,), count in zip(column.values, np.bincount(column.codes, minlength=len(column.values)), strict=True):
        counts[name] += int(count)
    return [f"{name} {counts[name]:,}" for name in sorted(counts) if name and counts[name]]


def _labels(manifest: Manifest) -> str:
    """Return the number of classes and where the labels come from."""
    notes = manifest.notes
    if not manifest.classes:
        return "no labels" + (f" ({notes.labels})" if notes.labels else "")
    return f"{len(manifest.classes):,} classes" + (f" ({notes.labels})" if notes.labels else "")


def _hours(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} hours"
    return f"{seconds:,.0f} seconds" if seconds >= 100 else f"{seconds:.3g} seconds"


def _some(names: Iterable[str]) -> str:
    """Return the first names of a list, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(name[:80] for name in names[:_MAX_NAMES]) + more
