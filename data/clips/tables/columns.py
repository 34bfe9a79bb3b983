"""Find the columns of a table that are read, by the names that the field gives them.

Names are compared without case, spaces, underscores and hyphens: "Begin Time (s)" is "begin_time(s)".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.data.audio.remote import Address
from distill.data.errors import UserError

# Of several columns of one kind, the first is read. The names of earlier versions come first.
_PATHS = (
    "path", "file_name", "filename", "file", "audio", "audio_path", "audio_file", "audio_filename", "audio_file_path",
    "audio_filepath", "file_path", "filepath", "wav", "wav_path", "wav_file", "wav_filename", "mp3_path", "sound",
    "sound_file", "relative_path", "fname", "recording", "begin_file", "begin_path",
)  # fmt: skip
_STARTS = ("start", "start_time", "start(s)", "start_time(s)", "start_seconds", "start_sec", "begin", "begin(s)",
           "begin_time", "begin_time(s)", "onset", "onset(s)", "offset", "offset(s)")  # fmt: skip
_ENDS = ("end", "end_time", "end(s)", "end_time(s)", "end_seconds", "end_sec", "stop", "stop_time")
_ENDS_AFTER_ONSET = (*_ENDS, "offset", "offset(s)")  # beside "onset", the offset is the end; otherwise the start
_DURATIONS = ("duration", "duration(s)", "duration_seconds", "duration_sec", "dur")
_LABELS = (
    "labels", "label", "category", "class", "categories", "classes", "class_name", "class_label", "label_name",
    "event_label", "scene_label", "sound_class", "species", "species_code", "primary_label", "common_name",
    "scientific_name", "annotation", "annotations", "tags", "tag", "genre", "instrument", "target",
)  # fmt: skip
_SEVERAL = ("labels", "categories", "classes", "annotations", "tags")  # ends of names of columns with several labels
_SPLITS = ("split", "fold", "subset", "set", "partition", "folds", "dataset_split", "data_split")
_DOMAINS = ("domain",)
_ID = "id"  # only so written: the ids of yesterday's stores depend on it
_MAX_NAMES = 20  # columns in a message


@dataclass(frozen=True)
class Columns:
    """The columns of a table that are read.

    Args:
        paths: Columns of audio files. Of a row, the first that is not empty is read. Empty: there is none.
        start: Column of the start in seconds. None: there is none.
        end: Column of the end in seconds. None: there is none.
        duration: Column of the length in seconds. It is read where the end is empty. None: there is none.
        label: Column of the labels. None: there is none.
        split: Column of the splits or folds. None: there is none.
        id: Column of the names of the clips. None: there is none.
        domain: Column of the domains. None: there is none.
        sound: The only column of `paths`, if it holds the sounds themselves. None: it does not.
    """

    paths: tuple[str, ...]
    start: str | None
    end: str | None
    duration: str | None
    label: str | None
    split: str | None
    id: str | None
    domain: str | None = None
    sound: str | None = None

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        single = (self.start, self.end, self.duration, self.label, self.split, self.id, self.domain)
        return tuple(dict.fromkeys([*self.paths, *(name for name in single if name is not None)]))

    @property
    def has_windows(self) -> bool:
        """Whether a row can be a part of a file."""
        return not (self.start is None and self.end is None and self.duration is None)

    @property
    def has_own_ids(self) -> bool:
        """Whether an id can be another than the name of its file."""
        return self.has_windows or self.id is not None or self.sound is not None


def find_columns(table: Path | Address, header: Sequence[str], label: str = "", split: str = "") -> Columns:
    """Return the columns of a table that are read.

    Args:
        table: The table, for messages.
        header: Names of all columns.
        label: Column of the labels. Empty: found by its name.
        split: Column of the splits. Empty: found by its name.

    Raises:
        UserError: a named column does not exist, or two columns have the same name.
    """
    labels, splits = _named(table, header, "--label", label), _named(table, header, "--split", split)
    free = [name for name in header if name not in (*labels, *splits)]
    starts = _find(table, free, _STARTS)
    ends = _find(table, free, _ENDS_AFTER_ONSET if starts[:1] and _normal(starts[0]).startswith("onset") else _ENDS)
    return Columns(
        paths=_find(table, free, _PATHS),
        start=_first(starts),
        end=_first(ends),
        duration=_first(_find(table, free, _DURATIONS)),
        label=_first(labels or _find(table, free, _LABELS)),
        split=_first(splits or _find(table, free, _SPLITS)),
        id=_ID if _ID in free else None,
        domain=_first(_find(table, header, _DOMAINS)),
    )


def several_labels(column: str) -> bool:
    """Return whether a cell of a column of labels may hold several, by the name of the column."""
    return _normal(column).endswith(_SEVERAL)


def listed(header: Sequence[str]) -> str:
    """Return the names of columns for a message; of many, the first ones."""
    more = f" and {len(header) - _MAX_NAMES:,} more" if len(header) > _MAX_NAMES else ""
    return (", ".join(name[:80] for name in header[:_MAX_NAMES]) or "none") + more


def _find(table: Path | Address, header: Sequence[str], spellings: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of one kind, the preferred one first. Raises UserError for two of the same name."""
    normal = [_normal(spelling) for spelling in spellings]
    ranked: list[tuple[int, str]] = []
    for name in header:
        if name in spellings:
            ranked.append((spellings.index(name), name))
        elif (written := _normal(name)) in normal:
            ranked.append((normal.index(written), name))
    ranked.sort(key=lambda pair: pair[0])
    if len(ranked) > 1 and ranked[0][0] == ranked[1][0]:
        raise UserError(f"{table}: the columns {ranked[0][1]!r} and {ranked[1][1]!r} have the same name; rename one")
    return tuple(name for _, name in ranked)


def _named(table: Path | Address, header: Sequence[str], option: str, name: str) -> list[str]:
    """Return the column that an option names, as the table writes it; none for an empty name."""
    if not name:
        return []
    found = [column for column in header if column == name] or [c for c in header if _normal(c) == _normal(name)]
    if not found:
        raise UserError(f"{option} {name}: {table} has no such column; the columns are {listed(header)}")
    if len(found) > 1:
        raise UserError(f"{option} {name}: {table} has {len(found)} columns of this name; rename one")
    return found


def _first(names: Sequence[str]) -> str | None:
    return names[0] if names else None


def _normal(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name.casefold())
