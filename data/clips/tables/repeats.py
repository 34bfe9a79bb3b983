"""Rows of a table that repeat a clip or an id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distill.data.audio.parts import Cell, Part
from distill.data.clips.manifest import Category, Rows
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.data.store.texts import TextIndex, Texts, TextsBuilder

_BLOCK = 1 << 16  # ids that are copied together


@dataclass(frozen=True)
class Joined:
    """Rows with one id each.

    Args:
        rows: The rows.
        remarks: What was done, in words.
        set_aside: Rows that contradict another row of their clip.
    """

    rows: Rows
    remarks: tuple[str, ...] = ()
    set_aside: tuple[SetAside, ...] = ()


def join_repeats(rows: Rows, source: Path, where: Callable[[int], str], has_ids: bool) -> Joined:
    """Return rows of which each has its own id.

    Rows of one file and one window are one clip, whose labels are joined. Other windows of one file that would have the
    same id have their end in it too: "a.wav@1-3" beside "a.wav@1-2". Sounds in a table that would have the same id have
    the number of their row in it: "a.wav#7".

    Args:
        rows: Rows of the table.
        source: The table, for messages.
        where: Returns the place of the row of a number in words.
        has_ids: Whether the table has a column of ids. They must differ.

    Raises:
        UserError: an id occurs twice, for different clips.
    """
    index = TextIndex(rows.ids)
    if index.repeated is None:
        return Joined(rows)
    joining = _Joining(rows, where)
    new_ids: dict[int, str] = {}
    for group in index.repeats():
        windows: dict[tuple[str, Part | None, float, float | None], list[int]] = {}
        for number in group:
            row = rows[number]
            windows.setdefault((str(row.path), row.part, row.start, row.duration), []).append(number)
        if len(windows) > 1:
            if has_ids:
                raise UserError(f"{source}, {where(group[1])}: the id {rows.ids[group[0]]!r} occurs twice")
            for (_, part, start, duration), numbers in windows.items():
                if isinstance(part, Cell):
                    new_ids |= dict.fromkeys(numbers, f"{rows.ids[group[0]]}#{part.row + 1}")
                    continue
                name = rows.ids[group[0]].rpartition("@")[0]
                end = "" if duration is None else f"{start + duration:.12g}"
                new_ids |= dict.fromkeys(numbers, f"{name}@{start:.12g}-{end}")
        for numbers in windows.values():
            joining.join(numbers)
    joined = joining.joined(_renamed(rows.ids, new_ids))
    if (place := TextIndex(joined.rows.ids).repeated) is not None:
        raise UserError(f"{source}: the id {joined.rows.ids[place]!r} occurs twice; add a column `id`")
    return joined


class _Joining:
    """The joining of rows that are one clip."""

    def __init__(self, rows: Rows, where: Callable[[int], str]) -> None:
        self._rows, self._where = rows, where
        self._is_kept = np.ones(len(rows), bool)
        self._codes = rows.labels.codes.copy()
        self._values = {labels: code for code, labels in enumerate(rows.labels.values)}
        self._repeated, self._labels_differ = 0, False
        self._set_aside: list[SetAside] = []

    def join(self, numbers: list[int]) -> None:
        """Keep the first of some rows, with the labels of all that are in its split and domain."""
        first, *others = numbers
        labels = dict.fromkeys(self._rows.labels[first])
        for number in others:
            self._is_kept[number] = False
            if other := self._contradiction(first, number):
                detail = f"{self._where(number)}: the clip of {self._where(first)} in another {other}"
                self._set_aside.append(SetAside(self._rows.ids[number], "repeated", detail))
                continue
            self._repeated += 1
            self._labels_differ |= self._rows.labels[number] != self._rows.labels[first]
            labels |= dict.fromkeys(self._rows.labels[number])
        self._codes[first] = self._values.setdefault(tuple(labels), len(self._values))

    def _contradiction(self, first: int, number: int) -> str:
        """Return the column in which two rows of a clip contradict each other, in words. Empty: in none."""
        domains = self._rows.domains
        if self._rows.splits[number] != self._rows.splits[first]:
            return "split"
        return "domain" if domains is not None and domains[number] != domains[first] else ""

    def joined(self, ids: Texts) -> Joined:
        """Return the rows that are left, with their ids."""
        rows = replace(self._rows, ids=ids, labels=Category(tuple(self._values), self._codes))
        if not self._is_kept.all():
            rows = rows.take(np.flatnonzero(self._is_kept))
        remark = f"{self._repeated:,} rows repeat a clip" + (": their labels are joined" if self._labels_differ else "")
        return Joined(rows, (remark,) if self._repeated else (), tuple(self._set_aside))


def _renamed(ids: Texts, new_ids: dict[int, str]) -> Texts:
    """Return the ids with the new ones in their places."""
    if not new_ids:
        return ids
    builder = TextsBuilder()
    for first in range(0, len(ids), _BLOCK):
        builder.extend(
            [new_ids.get(first + place, clip_id) for place, clip_id in enumerate(ids[first : first + _BLOCK])]
        )
    return builder.build()
