"""The update of a store: which clips of the data are new, changed, removed or unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from distill.data.clips.manifest import Manifest
from distill.data.clips.stamps import FileStates
from distill.data.fingerprint import refuse_difference
from distill.data.store.plan import PLAN, Plan
from distill.data.store.shard import EMBEDDED, MISSING
from distill.data.store.stamps import compare
from distill.data.store.texts import TextIndex
from distill.data.store.writer import StoreWriter

_COUNTS = ("new", "changed", "removed", "unchanged", "unknown")


@dataclass(frozen=True)
class ShardUpdate:
    """The rows of a shard that change. The rows count from the start of the shard.

    Args:
        embed: Rows to embed, int64.
        remove: Rows whose clips have no embedding any more, int64.
    """

    embed: NDArray[np.int64]
    remove: NDArray[np.int64]


@dataclass
class Update:
    """The difference between a store and the data.

    Args:
        shards: The shards to write, by number, in order.
        new: Number of clips that have no embedding yet.
        changed: Number of clips whose file or window changed since they were embedded or set aside.
        removed: Number of clips that are dropped.
        unchanged: Number of clips that stay as they are.
        unknown: Number of unchanged clips for which the store has no state of their files.
        embedded: Whether a stored embedding stays.
    """

    shards: dict[int, ShardUpdate] = field(default_factory=dict)
    new: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    unknown: int = 0
    embedded: bool = False

    @classmethod
    def joined(cls, updates: Sequence[Update]) -> Update:
        """Return the counts and shards of several updates together."""
        shards = {number: rows for update in updates for number, rows in update.shards.items()}
        counts = {name: sum(getattr(update, name) for update in updates) for name in _COUNTS}
        return cls(shards, **counts, embedded=any(update.embedded for update in updates))

    @property
    def to_embed(self) -> int:
        """Number of clips to embed."""
        return sum(len(rows.embed) for rows in self.shards.values())

    def lines(self) -> list[str]:
        """Return the counts in words."""
        counts = {"new": self.new, "changed": self.changed, "removed": self.removed, "unchanged": self.unchanged}
        lines = [", ".join(f"{count:,} {name}" for name, count in counts.items())]
        if self.unknown:
            lines.append(
                f"the store is of an earlier version: it does not know whether the files of {self.unknown:,} clips "
                "changed. They count as unchanged, and later changes are found"
            )
        return lines


def find_update(writer: StoreWriter, states: FileStates, drop: bool, shards: Sequence[int]) -> Update:
    """Compare a store with the data. Renew the stamps of finished shards whose files only have a new time.

    Args:
        writer: Writer of the store. Its plan has the new clips already.
        states: States of the files of the data today.
        drop: Whether clips that are not in the data lose their embedding.
        shards: The shards to compare.
    """
    update = Update()
    for shard in tqdm(shards, desc="compare with the files", unit="shard", mininterval=0.5, delay=5, leave=False):
        _compare_shard(update, writer, shard, states, drop)
    return update


def _compare_shard(update: Update, writer: StoreWriter, shard: int, states: FileStates, drop: bool) -> None:
    """Add the differences of one shard to the update."""
    held, rows = writer.held(shard), writer.rows(shard)
    places = writer.places[rows.start : rows.stop]
    in_data, is_held = places >= 0, (held.states != MISSING) & ~held.removed
    compared = np.flatnonzero(in_data & is_held)
    changed = np.zeros(len(rows), bool)
    if len(compared):
        numbers = places[compared]
        found = compare(held.stamps[compared], states.stamps(numbers), lambda row: states.content(int(numbers[row])))
        changed[compared] = ~found.unchanged
        update.unknown += int(found.unknown.sum())
        if held.is_done and (found.stamps != held.stamps[compared]).any():
            stamps = held.stamps.copy()
            stamps[compared] = np.where(found.unchanged, found.stamps, held.stamps[compared])
            writer.renew(shard, stamps)
    new = in_data & ~is_held
    dropped = ~in_data & is_held & drop
    absent = dropped | (~in_data & (held.states == MISSING))
    update.new += int(new.sum())
    update.changed += int(changed.sum())
    update.removed += int(dropped.sum())
    stays = is_held & ~changed & ~dropped
    update.unchanged += int(stays.sum())
    update.embedded |= bool((stays & (held.states == EMBEDDED)).any())
    if not held.is_done or (new | changed | absent).any():
        update.shards[shard] = ShardUpdate(np.flatnonzero(new | changed), np.flatnonzero(absent))


def refuse_other_windows(folder: Path, manifest: Manifest) -> None:
    """Raise StoreError if a store of an earlier version has other windows of the same clips.

    It has one digest of all windows instead of a state of each clip. The digest is compared if all its clips are there.
    """
    if not (folder / PLAN).exists() or any(folder.glob("*.stamps")):
        return
    plan = Plan.read(folder)
    if "windows" not in plan.fingerprint:
        return
    same: Mapping[str, str] = {"windows": plan.fingerprint["windows"]}
    if plan.ids == manifest.ids:
        refuse_difference(folder, same, {"windows": manifest.digest})
        return
    places = TextIndex(manifest.ids).find_all(plan.ids)
    if (places >= 0).all():
        refuse_difference(folder, same, {"windows": manifest.take(places).digest})
