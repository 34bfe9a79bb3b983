"""Write a store of embeddings, shard by shard. docs/store_format.md describes the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import remove_temporaries
from distill.data.fingerprint import refuse_difference
from distill.data.store.finished import read_finished, write_finished
from distill.data.store.format import REMOVED, SCHEMA, ClipFrames, SetAside, ShardFiles, Sidecar
from distill.data.store.journal import delete_journal, read_journal, read_journal_rows, write_journal
from distill.data.store.plan import PLAN, Plan
from distill.data.store.shard import ASIDE, EMBEDDED, Shard
from distill.data.store.stamps import Stamps, read_stamps, unknown_stamps, write_stamps
from distill.data.store.texts import TextIndex, Texts

_ROWS_PER_SHARD, _ROWS_WITH_FRAMES = 4096, 256  # a shard is in memory until it is written
_SHARDS, _MIN_ROWS, _ROW_STEP = 128, 32, 16  # a short list has shorter shards, so that many processes have work
_NOT_COMPARED = ("schema", "plan", "windows")  # these differ between versions and between plans, not embeddings


class Held(NamedTuple):
    """The rows of a shard, without their embeddings.

    Args:
        states: MISSING, EMBEDDED or ASIDE, uint8. Shape (rows,).
        removed: Whether a row that is set aside was removed from the data. Shape (rows,).
        stamps: States of the audio files. Shape (rows,).
        is_done: Whether the shard is finished.
    """

    states: NDArray[np.uint8]
    removed: NDArray[np.bool_]
    stamps: Stamps
    is_done: bool


class StoreWriter:
    """A writer of shards. After a kill, a new writer continues with the rows that are not stored.

    A store that exists keeps its rows, and new clips are appended. The caller holds `distill.data.files.lock` on the
    folder.

    Args:
        path: Folder, created if it does not exist.
        ids: Clips of the data, in order. They differ.
        dim: Size of an embedding.
        fingerprint: JSON values of all that determines an embedding.
        dtype: "float16" or "float32", on disk.
        frame_dim: Size of the embedding of a frame. 0 stores no frames.
        rows_per_shard: Rows of a shard. 0: chosen by the number of clips, at most 4096, or 256 with frames.
        origin: JSON values about the embeddings that do not determine them, such as the licence of the weights.
        refuse_others: Whether a store that has none of the clips is refused.
        is_shared: Whether other processes write other shards meanwhile. Otherwise files of a killed writer are deleted.

    Attributes:
        plan: Fingerprint and clips of the store, with the new ones.
        planned_before: Number of clips that the store had before. None: it is new.
        places: Place in `ids` of each row of the plan; -1 for a clip that is not among them. Shape (rows,).

    Raises:
        StoreError: the folder holds a store with another fingerprint or only of other clips, or shards without a plan.
    """

    def __init__(
        self,
        path: str | Path,
        ids: Sequence[str],
        dim: int,
        fingerprint: Mapping[str, Any],
        dtype: str = "float16",
        frame_dim: int = 0,
        rows_per_shard: int = 0,
        origin: Mapping[str, Any] = MappingProxyType({}),
        refuse_others: bool = False,
        is_shared: bool = False,
    ) -> None:
        self.path, texts = Path(path), Texts.of(ids)
        self.path.mkdir(parents=True, exist_ok=True)
        if not is_shared:
            remove_temporaries(self.path)
        shape = {"schema": SCHEMA, "dim": dim, "frame_dim": frame_dim, "dtype": dtype}
        described = {**fingerprint, **shape}
        self.planned_before: int | None = None
        if (self.path / PLAN).exists():
            self.plan = Plan.read(self.path)
            refuse_difference(self.path, *map(_compared, (self.plan.fingerprint, described)))
            self.planned_before = len(self.plan.ids)
            self.places = self._extend(texts, refuse_others)
            return
        if leftover := next(self.path.glob("[0-9]*.json"), None):
            raise StoreError(f"{leftover} belongs to a store whose {PLAN} is missing; choose another folder")
        rows_per_shard = rows_per_shard or min(
            _ROWS_WITH_FRAMES if frame_dim else _ROWS_PER_SHARD, rows_of_short_list(len(texts))
        )
        self.plan = Plan(described, dict(origin), rows_per_shard, texts)
        self.plan.write(self.path)
        self.places = np.arange(len(texts))

    @property
    def ids(self) -> Texts:
        """Clips of all rows."""
        return self.plan.ids

    @property
    def frame_dim(self) -> int:
        """Size of the embedding of a frame. 0: the store has no frames."""
        return self.plan.row_format.frame_dim

    @property
    def shard_count(self) -> int:
        """Number of shards of the plan."""
        return self.plan.shard_count

    def rows(self, shard: int) -> range:
        """Return the rows of the plan that a shard holds."""
        return self.plan.rows(shard)

    def missing_shards(self) -> list[int]:
        """Return the shards that are not done, in order."""
        return [shard for shard in range(self.shard_count) if self._sidecar(shard)[1] is None]

    def held(self, shard: int) -> Held:
        """Return what a shard holds, finished or in its journal."""
        files, sidecar = self._sidecar(shard, any_rows=True)
        ids = self.plan.ids_of(shard)
        states, stamps = np.zeros(len(ids), np.uint8), unknown_stamps(len(ids))
        removed = np.zeros(len(ids), bool)
        if sidecar is not None:
            delete_journal(files)  # of a killed writer that had just finished the shard
        if sidecar is not None and not sidecar.set_aside:  # the usual case, which needs no search
            states[: sidecar.rows], stamps[: sidecar.rows] = EMBEDDED, read_stamps(files.stamps, sidecar.rows)
            return Held(states, removed, stamps, sidecar.rows == len(ids))
        row_of = {clip_id: row for row, clip_id in enumerate(ids)}
        if sidecar is not None:
            states[: sidecar.rows], stamps[: sidecar.rows] = EMBEDDED, read_stamps(files.stamps, sidecar.rows)
            for clip in sidecar.set_aside:
                states[row_of[clip.id]], removed[row_of[clip.id]] = ASIDE, clip.reason == REMOVED
            return Held(states, removed, stamps, sidecar.rows == len(ids))
        for segment in read_journal_rows(files):
            reasons = {clip.id: clip.reason for clip in segment.set_aside}
            for clip_id, state, stamp in zip(segment.ids, segment.states.tolist(), segment.stamps, strict=True):
                if (row := row_of.get(clip_id)) is not None:
                    states[row], stamps[row], removed[row] = state, stamp, reasons.get(clip_id) == REMOVED
        return Held(states, removed, stamps, False)

    def open(self, shard: int) -> Shard:
        """Return the rows of a shard that are stored. A finished shard is first moved to its journal."""
        files, sidecar = self._sidecar(shard, any_rows=True)
        opened = Shard(shard, self.plan.ids_of(shard), self.plan.row_format)
        if sidecar is None:
            for block in read_journal(files):
                opened.put(block)
            return opened
        block = read_finished(files, sidecar, opened.ids[: sidecar.rows], self.plan.row_format)
        write_journal(files, block)
        files.sidecar.unlink()
        opened.put(block)
        return opened

    def keep(self, shard: Shard) -> None:
        """Write the rows that were added to a shard since the last call to its journal."""
        write_journal(ShardFiles(self.path, shard.number), shard.added())

    def finish(self, shard: Shard) -> None:
        """Write a complete shard.

        Raises:
            StoreError: a clip was neither embedded nor set aside, or frames of clips have different times.
        """
        write_finished(ShardFiles(self.path, shard.number), shard)

    def renew(self, shard: int, stamps: Stamps) -> None:
        """Replace the stamps of a finished shard."""
        write_stamps(ShardFiles(self.path, shard).stamps, stamps)

    def write(
        self,
        shard: int,
        embeddings: Mapping[str, NDArray[Any]],
        set_aside: Iterable[SetAside] = (),
        frames: Mapping[str, ClipFrames] | None = None,
    ) -> None:
        """Write one shard at once.

        Args:
            shard: Number of the shard.
            embeddings: Vector (dim,) of each clip by id. A clip whose vector is not finite, or too large for the
                dtype, is set aside.
            set_aside: Clips that could not be embedded.
            frames: Frames of each clip by id, if the store has frames. The times of every clip must be the first times
                of the longest clip.

        Raises:
            StoreError: a clip of the shard was neither embedded nor set aside, or a vector has another size.
        """
        rows = Shard(shard, self.plan.ids_of(shard), self.plan.row_format)
        for clip in set_aside:
            rows.put_aside(clip)
        ids = [clip_id for clip_id in rows.missing if clip_id in embeddings]
        dim = self.plan.row_format.dim
        for clip_id in ids:
            if np.shape(embeddings[clip_id]) != (dim,):
                shape = np.shape(embeddings[clip_id])
                raise StoreError(f"shard {shard}: {clip_id!r} has shape {shape}, not ({dim},)")
        if ids:
            rows.add(ids, np.array([embeddings[clip_id] for clip_id in ids], np.float32), frames)
        self.finish(rows)

    def _sidecar(self, shard: int, any_rows: bool = False) -> tuple[ShardFiles, Sidecar | None]:
        """Return the files of a shard, and its sidecar if it is done; with `any_rows` also that of fewer rows."""
        files = ShardFiles(self.path, shard)
        sidecar = Sidecar.read(files)
        is_done = sidecar is not None and (any_rows or sidecar.rows == len(self.rows(shard)))
        return files, sidecar if is_done else None

    def _extend(self, ids: Texts, refuse_others: bool) -> NDArray[np.int64]:
        """Append new clips to the plan. Return the place in `ids` of each row of the plan."""
        if self.plan.ids == ids:
            return np.arange(len(ids))
        places = TextIndex(ids).find_all(self.plan.ids)
        if refuse_others and len(places) and (places < 0).all():
            raise StoreError(
                f"{self.path} holds {len(places):,} clips, and none of them is in the data; choose another folder"
            )
        is_new = np.ones(len(ids), bool)
        is_new[places[places >= 0]] = False
        new = np.flatnonzero(is_new)
        if len(new):
            self.plan = self.plan.extended(self.path, ids.take(new))
        return np.concatenate([places, new])


def rows_of_short_list(clips: int) -> int:
    """Return the rows of a shard, so that a store of some clips has about 128 shards. It is a multiple of 16."""
    return max(_MIN_ROWS, _ROW_STEP * -(-clips // (_SHARDS * _ROW_STEP)))


def _compared(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fingerprint.items() if name not in _NOT_COMPARED}
