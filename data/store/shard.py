"""The rows of one shard in memory, until they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.store.format import MAX_MAGNITUDE, REMOVED, ClipFrames, RowFormat, SetAside
from distill.data.store.stamps import Stamps, unknown_stamps

MISSING, EMBEDDED, ASIDE = 0, 1, 2  # states of a row


@dataclass(frozen=True)
class Block:
    """Rows of a shard, embedded or set aside, as they are on disk.

    Args:
        ids: Clips of the rows.
        states: EMBEDDED or ASIDE, uint8. Shape (rows,).
        stamps: States of the audio files. Shape (rows,).
        vectors: Embeddings of the embedded rows, in the type of the store. Shape (embedded, dim).
        frames: Frames of the embedded rows. Empty if the store has no frames.
        set_aside: The other rows.
    """

    ids: tuple[str, ...]
    states: NDArray[np.uint8]
    stamps: Stamps
    vectors: NDArray[Any]
    frames: Sequence[ClipFrames]
    set_aside: Sequence[SetAside]


class Shard:
    """The rows of a shard. Each is missing, embedded or set aside.

    Values are converted to the type of the store when they are added. So a shard that continues from its journal gets
    the same bytes as one that was never stopped.

    Args:
        number: Number of the shard.
        ids: Planned clips of the shard.
        row_format: Size and type of a row.
    """

    def __init__(self, number: int, ids: Iterable[str], row_format: RowFormat) -> None:
        self.number, self.ids, self.row_format = number, tuple(ids), row_format
        self.states = np.zeros(len(self.ids), np.uint8)
        self.stamps: Stamps = unknown_stamps(len(self.ids))
        self._vectors = np.zeros((len(self.ids), row_format.dim), row_format.dtype)
        self._frames: dict[int, ClipFrames] = {}
        self._aside: dict[int, SetAside] = {}
        self._row_of = {clip_id: row for row, clip_id in enumerate(self.ids)}
        self._added: set[int] = set()

    @property
    def missing(self) -> list[str]:
        """Clips that are neither embedded nor set aside."""
        return [self.ids[row] for row in np.flatnonzero(self.states == MISSING).tolist()]

    @property
    def set_aside(self) -> list[SetAside]:
        """Rows without an embedding, in the order of the plan."""
        return [self._aside[row] for row in sorted(self._aside)]

    def add(
        self,
        ids: Sequence[str],
        vectors: NDArray[np.float32],
        frames: Mapping[str, ClipFrames] | None = None,
        stamps: Stamps | None = None,
    ) -> None:
        """Add embeddings. A clip is set aside if a value is not finite or too large for the type of the store.

        Args:
            ids: Clips of the shard.
            vectors: Their embeddings. Shape (clips, dim).
            frames: Frames of each clip by id, if the store has frames.
            stamps: States of their files. Shape (clips,). None: unknown.

        Raises:
            StoreError: the vectors have another size.
        """
        dtype, dim = self.row_format.dtype, self.row_format.dim
        if vectors.shape != (len(ids), dim):
            raise StoreError(f"shard {self.number}: embeddings of {len(ids)} clips have shape {vectors.shape}")
        usable, stored = _usable(vectors, dtype), _cast(vectors, dtype)
        stamps = unknown_stamps(len(ids)) if stamps is None else stamps
        for number, clip_id in enumerate(ids):
            clip = (frames or {})[clip_id] if self.row_format.frame_dim else None
            if not usable[number] or (clip is not None and not _usable(clip.frames, dtype).all()):
                values = vectors[number] if clip is None else np.append(vectors[number], clip.frames)
                self.put_aside(SetAside(clip_id, *_reason_unusable(values, dtype)), stamps[number])
                continue
            row = self._place(clip_id, EMBEDDED, stamps[number])
            self._vectors[row] = stored[number]
            if clip is not None:
                self._frames[row] = ClipFrames(_cast(clip.frames, dtype), clip.times)

    def put_aside(self, clip: SetAside, stamp: np.void | None = None) -> None:
        """Set a clip aside. `stamp` is the state of its file; None: unknown."""
        row = self._place(clip.id, ASIDE, unknown_stamps(1)[0] if stamp is None else stamp)
        self._aside[row] = clip

    def remove(self, rows: Iterable[int]) -> None:
        """Mark rows of the shard as removed from the data: they have no embedding."""
        for row in rows:
            self.put_aside(SetAside(self.ids[row], REMOVED, "not in the data"))

    def forget(self, rows: Iterable[int]) -> None:
        """Make rows of the shard missing again."""
        for row in rows:
            self.states[row] = MISSING
            self._frames.pop(row, None)
            self._aside.pop(row, None)

    def put(self, block: Block) -> None:
        """Put rows that were stored before into the shard. Rows of other clips are ignored."""
        embedded = iter(range(len(block.vectors)))
        aside = iter(block.set_aside)
        for clip_id, state, stamp in zip(block.ids, block.states.tolist(), block.stamps, strict=True):
            number, clip = (next(embedded), None) if state == EMBEDDED else (0, next(aside))
            if clip_id not in self._row_of:
                continue
            row = self._place(clip_id, state, stamp)
            if clip is not None:
                self._aside[row] = clip
                continue
            self._vectors[row] = block.vectors[number]
            if self.row_format.frame_dim:
                self._frames[row] = block.frames[number]
        self._added.clear()

    def added(self) -> Block:
        """Return the rows that were added since the last call or `put`."""
        rows = np.array(sorted(self._added), np.int64)
        self._added.clear()
        return self.block(rows)

    def block(self, rows: NDArray[np.int64] | None = None) -> Block:
        """Return rows that are not missing. None: all rows."""
        rows = np.arange(len(self.ids)) if rows is None else rows
        rows = rows[self.states[rows] != MISSING]
        embedded = rows[self.states[rows] == EMBEDDED]
        return Block(
            tuple(self.ids[row] for row in rows.tolist()),
            self.states[rows],
            self.stamps[rows],
            self._vectors[embedded],
            [self._frames[row] for row in embedded.tolist()] if self.row_format.frame_dim else [],
            [self._aside[row] for row in rows.tolist() if row in self._aside],
        )

    def _place(self, clip_id: str, state: int, stamp: np.void) -> int:
        """Set the state of a clip, and return its row."""
        row = self._row_of[clip_id]
        self.forget([row])
        self.states[row], self.stamps[row] = state, stamp
        self._added.add(row)
        return row


def _usable(vectors: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """Return which rows are finite and fit the dtype. Shape (rows,)."""
    limit = min(MAX_MAGNITUDE, float(np.finfo(dtype).max))
    highest, lowest = vectors.max(axis=1, initial=0.0), vectors.min(axis=1, initial=0.0)
    return (highest <= limit) & (lowest >= -limit)  # also False for NaN


def _cast(vectors: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the vectors in the dtype of the store."""
    # torch converts to half ten times as fast as NumPy
    if dtype == np.float16:
        return torch.from_numpy(np.ascontiguousarray(vectors, np.float32)).half().numpy()
    return vectors.astype(dtype)


def _reason_unusable(values: NDArray[np.float32], dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return reason and detail of values that cannot be stored."""
    if not np.isfinite(values).all():
        return "teacher_non_finite", "the output of the encoder is NaN or infinite"
    return "teacher_out_of_range", f"an element is {np.abs(values).max():g}, too large for {dtype.name}"
