"""A store of embeddings: shards of rows, written once, resumable, read by clip id.

On disk, below one folder:
    plan.json           fingerprint, ids in order, rows per shard, dtype
    00000.bin           clip embeddings of the shard's good rows, little-endian, row after row
    00000.frames.bin    their frames, clip after clip, where frames are kept
    00000.json          written last: sizes, sha256, frames of each clip, and the rows that were set aside with reasons
A shard is done when its JSON is there. Every row of the plan ends embedded or set aside.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import file_digest
from distill.data.fingerprint import digest
from distill.data.store.format import (
    SCHEMA,
    SetAside,
    read_json,
    shard_is_done,
)


class EmbeddingStore:
    """Reads a store by clip id or as a whole.

    Rows are read from files, not memory-mapped: a mapped file that shrinks kills the process without a word.

    Args:
        path: Folder written by `distill embed`.
        partial: Accept a store whose writing has not ended.

    Raises:
        StoreError: no store there, one that is not complete, or a shard of another size than was written.
    """

    def __init__(self, path: str | Path, partial: bool = False) -> None:
        self.path = Path(path)
        if not (self.path / "plan.json").is_file():
            raise StoreError(f"{self.path} is no store of embeddings; `distill embed --out {self.path}` writes one")
        plan = read_json(self.path / "plan.json")
        self.fingerprint: dict[str, Any] = plan["fingerprint"]
        self.origin: dict[str, Any] = plan.get("origin", {})
        if self.fingerprint.get("schema") != SCHEMA:
            raise StoreError(f"{self.path} has format {self.fingerprint.get('schema')}; this version reads {SCHEMA}")
        self.dim, self.frame_dim = int(self.fingerprint["dim"]), int(self.fingerprint["frame_dim"])
        self._dtype = np.dtype(self.fingerprint["dtype"]).newbyteorder("<")
        self._row_bytes = self.dim * self._dtype.itemsize
        self.ids: list[str] = []
        self.set_aside: list[SetAside] = []
        self._starts: list[int] = []  # first row of each done shard
        self._shards: list[tuple[int, Mapping[str, Any]]] = []
        count = -(-len(plan["ids"]) // plan["rows_per_shard"])
        for shard in range(count):
            planned = plan["ids"][shard * plan["rows_per_shard"] : (shard + 1) * plan["rows_per_shard"]]
            self._add(shard, planned)
        if not partial and len(self._shards) < count:
            raise StoreError(
                f"{self.path} is not complete ({len(self._shards)} of {count} shards); "
                f"run the `distill embed` that began it again"
            )

    def _add(self, shard: int, planned: Sequence[str]) -> None:
        if not shard_is_done(self.path, shard):
            return
        sidecar = read_json(self.path / f"{shard:05d}.json")
        aside = [SetAside(*clip) for clip in sidecar["set_aside"]]
        gone = {clip.id for clip in aside}
        self._starts.append(len(self.ids))
        self._shards.append((shard, sidecar))
        self.ids.extend(clip_id for clip_id in planned if clip_id not in gone)
        self.set_aside.extend(aside)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.ids)}

    @cached_property
    def _files(self) -> list[int]:
        return [os.open(self.path / f"{shard:05d}.bin", os.O_RDONLY | os.O_CLOEXEC) for shard, _ in self._shards]

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._row_of

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of the named clips, float32. Shape (len(ids), dim). StoreError names what is not there."""
        try:
            rows = np.array([self._row_of[clip_id] for clip_id in ids], dtype=np.int64)
        except KeyError as error:
            raise StoreError(f"{self.path} has no embedding of {error.args[0]!r}; embed this data into it") from None
        return self.read_rows(rows)

    def read_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings by row, in the order asked for, float32. Shape (len(rows), dim)."""
        result = np.empty((len(rows), self.dim), dtype=self._dtype)
        buffer = result.reshape(-1).view(np.uint8).data
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        offsets = (rows - np.asarray(self._starts, dtype=np.int64)[shards]) * self._row_bytes
        for target, (shard, offset) in enumerate(zip(shards.tolist(), offsets.tolist(), strict=True)):
            place = target * self._row_bytes
            read = os.preadv(self._files[shard], [buffer[place : place + self._row_bytes]], offset)
            if read != self._row_bytes:
                raise StoreError(f"{self.path}: shard {self._shards[shard][0]} has shrunk while it was read")
        return result.astype(np.float32)

    @cached_property
    def _frame_files(self) -> list[int]:
        return [os.open(self.path / f"{shard:05d}.frames.bin", os.O_RDONLY | os.O_CLOEXEC) for shard, _ in self._shards]

    @cached_property
    def _frame_starts(self) -> list[NDArray[np.int64]]:
        """First frame of each clip of each shard, and the end of the last."""
        return [np.cumsum([0, *sidecar["frames"]["counts"]]) for _, sidecar in self._shards]

    @cached_property
    def frame_times(self) -> NDArray[np.float32]:
        """Centres of the frames of the longest clip, in seconds. Shape (frames,)."""
        times = [sidecar["frames"]["times"] for _, sidecar in self._shards]
        return np.array(max(times, key=len), dtype=np.float32)

    def frames(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        """Frames of the named clips, (frames, frame_dim) each, at the first of `frame_times`. StoreError as above."""
        result = []
        for clip_id in ids:
            if clip_id not in self:
                raise StoreError(f"{self.path} has no embedding of {clip_id!r}; embed this data into it")
            row = self._row_of[clip_id]
            shard = bisect.bisect_right(self._starts, row) - 1
            first, last = self._frame_starts[shard][row - self._starts[shard] :][:2]
            bytes_per_frame = self.frame_dim * self._dtype.itemsize
            wanted = int(last - first) * bytes_per_frame
            data = os.pread(self._frame_files[shard], wanted, int(first) * bytes_per_frame)
            if len(data) != wanted:
                raise StoreError(f"{self.path}: shard {self._shards[shard][0]} has shrunk while it was read")
            result.append(np.frombuffer(data, self._dtype).reshape(-1, self.frame_dim).astype(np.float32))
        return result

    def read_all(self) -> NDArray[np.float32]:
        """All embeddings, float32. Shape (rows, dim)."""
        parts = [np.fromfile(self.path / f"{shard:05d}.bin", dtype=self._dtype) for shard, _ in self._shards]
        return np.concatenate(parts).reshape(-1, self.dim).astype(np.float32)

    def verify(self) -> None:
        """Compare the sha256 of every shard with the one it was written with. Raises StoreError."""
        for shard, sidecar in self._shards:
            if file_digest(self.path / f"{shard:05d}.bin") != sidecar["sha256"]:
                raise StoreError(f"{self.path / f'{shard:05d}.bin'} is damaged; delete it and embed again")
            frames = self.path / f"{shard:05d}.frames.bin"
            if self.frame_dim and file_digest(frames) != sidecar["frames"]["sha256"]:
                raise StoreError(f"{frames} is damaged; delete it and embed again")

    @property
    def digest(self) -> str:
        """Sha256 over the fingerprint and the contents of all shards."""
        return digest([self.fingerprint, [sidecar["sha256"] for _, sidecar in self._shards]])
