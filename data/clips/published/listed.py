"""Give each clip that a published data set lists its file, at the published place or elsewhere in the folder."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from distill.data.audio.formats import unsupported
from distill.data.clips.folders import Files, list_files
from distill.data.clips.manifest import Row
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import Texts

_LOOKS = 50  # clips of a split whose published places are looked at
_MAX_PLACES = 4  # folders in a remark
ABSENT, UNLISTED = "listed clips without a file", "audio files that it does not list"
"""Reasons for which something is left out."""


class Listed(NamedTuple):
    """A clip as a data set lists it.

    Args:
        name: Published place of its file, relative to the root.
        labels: Names of the classes that are present.
        split: Name of the split or number of the fold.
        annotated: Labels that were annotated, present or absent; empty: all were.
        stems: Yields the names that the file may have, without folder and suffix. None: that of `name`.
        window: Start and length in seconds. None: the whole file.
    """

    name: str
    labels: tuple[str, ...]
    split: str
    annotated: tuple[str, ...] = ()
    stems: Callable[[], Iterable[str]] | None = None
    window: tuple[float, float] | None = None


class Placing:
    """Finds the files of listed clips.

    Args:
        root: Folder of the audio. Ids are paths below it.
        depth: Number of names at the end of a path that identify a clip: 1 for the file's name, 2 with its folder.
        anywhere: Whether copies of this set place files differently. Then a clip without a file is only counted.

    Attributes:
        absent: Number of clips without a file, if `anywhere`.
        unlisted: Number of files that no clip has, if they were looked for.
        set_aside: Clips whose file must be converted first.
        places: Number of clips by the folder in which they were found, if it is not the published one.
    """

    def __init__(self, root: Path, depth: int = 1, anywhere: bool = False) -> None:
        self.root, self.depth, self.anywhere = root, depth, anywhere
        self.absent = self.unlisted = 0
        self.set_aside: list[SetAside] = []
        self.places: Counter[str] = Counter()

    def rows(self, listed: Iterable[Listed]) -> Iterator[Row]:
        """Yield the rows of the clips that have a file, in order. Raises UserError for names outside the root."""
        if self.anywhere:
            moved: set[str] | None = None
        else:
            listed = list(listed)
            moved = self._moved(listed)
        index = _Index(list_files(self.root), self.depth) if moved is None or moved else None
        for clip in listed:
            if index is None or (moved is not None and clip.split not in moved):
                yield self._row(clip, self._published(clip))
            elif row := self._found(clip, index):
                yield row
        if index is not None and moved is None:
            self.unlisted = index.unused

    @property
    def remark(self) -> str:
        """Where the audio lies, in words. Empty: at the published places."""
        if not self.places or self.anywhere:
            return ""
        names = [f"{name}/" for name, _ in self.places.most_common(_MAX_PLACES)]
        more = f" and {len(self.places) - _MAX_PLACES} more" if len(self.places) > _MAX_PLACES else ""
        return f"audio in {', '.join(names)}{more}, not at the published place"

    def _moved(self, listed: list[Listed]) -> set[str]:
        """Return the splits of which no clip lies at its published place."""
        by_split: dict[str, list[Listed]] = {}
        for clip in listed:
            by_split.setdefault(clip.split, []).append(clip)
        return {
            split
            for split, clips in by_split.items()
            if not any(os.path.exists(self.root / clip.name) for clip in itertools.islice(clips, _LOOKS))
        }

    def _found(self, clip: Listed, index: _Index) -> Row | None:
        """Return the row of a clip whose file is looked for. None: it has no file, or one that must be converted."""
        keys = clip.stems or (lambda: (_key(clip.name, self.depth),))
        if (name := index.readable(keys())) is not None:
            if not self.anywhere:
                self.places[PurePosixPath(name).parent.as_posix()] += 1
            return self._row(clip, name)
        if (name := index.convertible(keys())) is not None:
            error = unsupported(self.root / name)
            assert error is not None
            self.set_aside.append(SetAside(name, error.reason, error.detail))
            return None
        if self.anywhere:
            self.absent += 1
            return None
        return self._row(clip, self._published(clip))  # it is set aside as missing when it is read

    def _published(self, clip: Listed) -> str:
        path = self.root / clip.name
        if not path.is_relative_to(self.root) or ".." in path.relative_to(self.root).parts:
            raise UserError(f"--data {self.root}: a list names {path}, which may lie outside the folder")
        return path.relative_to(self.root).as_posix()

    def _row(self, clip: Listed, name: str) -> Row:
        start, duration = clip.window or (0.0, None)
        return Row(
            id=f"{name}@{start:g}" if clip.window else name,
            path=self.root / name,
            start=start,
            duration=duration,
            labels=clip.labels,
            split=clip.split,
            annotated=clip.annotated,
        )


class _Index:
    """Finds files by the end of their path without suffix. Of files with equal keys, the first by name is found."""

    def __init__(self, files: Files, depth: int) -> None:
        self._audio, self._number_of = files.audio, _numbers(files.audio, depth)
        self._other, self._other_number_of = files.convertible, _numbers(files.convertible, depth)
        self._used = bytearray(len(files.audio))

    @property
    def unused(self) -> int:
        """Number of audio files that were not found by any key."""
        return self._used.count(0)

    def readable(self, keys: Iterable[str]) -> str | None:
        """Return the first audio file that has one of the keys, relative to the root."""
        number = _first(self._number_of, keys)
        if number is None:
            return None
        self._used[number] = 1
        return self._audio[number]

    def convertible(self, keys: Iterable[str]) -> str | None:
        """Return the first file that must be converted and has one of the keys."""
        number = _first(self._other_number_of, keys)
        return None if number is None else self._other[number]


def _numbers(names: Texts, depth: int) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for number, name in enumerate(names):
        numbers.setdefault(_key(name, depth), number)
    return numbers


def _first(number_of: dict[str, int], keys: Iterable[str]) -> int | None:
    return next((number_of[key] for key in keys if key in number_of), None)


def _key(path: str, depth: int) -> str:
    """Return the last `depth` names of a path, without the suffix."""
    end = "/".join(path.rsplit("/", depth)[-depth:])
    return end[: end.rfind(".")]
