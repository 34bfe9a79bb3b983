"""Read a store of embeddings: shards of rows, each written once, read by clip id.

Files in the folder of a store:
    plan.json           fingerprint, ids in order, rows per shard
    00000.bin           clip embeddings of the shard, little-endian, row after row
    00000.frames.bin    frames of the shard, clip after clip, if the store has frames
    00000.json          sidecar, written last: sizes, SHA-256, frames per clip, and the clips that were set aside
A shard is done when its sidecar exists. Every row of the plan is embedded or set aside.
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
from distill.data.store.format import SCHEMA, SetAside, read_json, shard_is_done


class EmbeddingStore:
    """A store of embeddings, read by clip id or as a whole.

    Rows are read from files. A memory-mapped file that shrinks would kill the process without a message.

    Args:
        path: Folder written by `distill embed`.
        partial: True accepts a store that is not complete.

    Raises:
        StoreError: the folder is not a store, or a shard is missing or damaged.
    """

    def __init__(self, path: str | Path, partial: bool = False) -> None:
        self.path = Path(path)
        if not (self.path / "plan.json").is_file():
            raise StoreError(f"{self.path} is not a store of embeddings; `distill embed --out {self.path}` writes one")
        plan = read_json(self.path / "plan.json")
        self.fingerprint: dict[str, Any] = plan["fingerprint"]
        self.origin: dict[str, Any] = plan.get("origin", {})
        if self.fingerprint.get("schema") != SCHEMA:
            raise StoreError(
                f"{self.path} has format {self.fingerprint.get('schema')}; this version reads format {SCHEMA}"
            )
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
                f"run the same `distill embed` again to continue it"
            )

    def _add(self, shard: int, planned: Sequence[str]) -> None:
        """Register the rows of a shard if it is done; `planned` are the ids of the plan."""
        if not shard_is_done(self.path, shard):
            return
        sidecar = read_json(self.path / f"{shard:05d}.json")
        aside = [SetAside(*clip) for clip in sidecar["set_aside"]]
        aside_ids = {clip.id for clip in aside}
        self._starts.append(len(self.ids))
        self._shards.append((shard, sidecar))
        self.ids.extend(clip_id for clip_id in planned if clip_id not in aside_ids)
        self.set_aside.extend(aside)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._row_of

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of clips, float32. Shape (len(ids), dim). Raises StoreError for an unknown id."""
        try:
            rows = np.array([self._row_of[clip_id] for clip_id in ids], dtype=np.int64)
        except KeyError as error:
            raise StoreError(f"{self.path} has no embedding of {error.args[0]!r}; embed this data into it") from None
        return self.read_rows(rows)

    def read_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings at `rows`, in this order, float32. Shape (len(rows), dim)."""
        result = np.empty((len(rows), self.dim), dtype=self._dtype)
        buffer = result.reshape(-1).view(np.uint8).data
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        offsets = (rows - np.asarray(self._starts, dtype=np.int64)[shards]) * self._row_bytes
        for row, (shard, offset) in enumerate(zip(shards.tolist(), offsets.tolist(), strict=True)):
            start = row * self._row_bytes
            read = os.preadv(self._files[shard], [buffer[start : start + self._row_bytes]], offset)
            if read != self._row_bytes:
                raise StoreError(f"{self.path}: shard {self._shards[shard][0]} shrank while it was read")
        return result.astype(np.float32)

    @cached_property
    def frame_times(self) -> NDArray[np.float32]:
        """Centres of the frames of the longest clip, in seconds. Shape (frames,)."""
        times = [sidecar["frames"]["times"] for _, sidecar in self._shards]
        return np.array(max(times, key=len), dtype=np.float32)

    def frames(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the frames of clips, float32, each (frames, frame_dim). Their times are the first of `frame_times`.

        Raises:
            StoreError: an id is unknown, or a shard is damaged.
        """
        result = []
        for clip_id in ids:
            if clip_id not in self:
                raise StoreError(f"{self.path} has no embedding of {clip_id!r}; embed this data into it")
            row = self._row_of[clip_id]
            shard = bisect.bisect_right(self._starts, row) - 1
            first, last = self._frame_starts[shard][row - self._starts[shard] :][:2]
            bytes_per_frame = self.frame_dim * self._dtype.itemsize
            size = int(last - first) * bytes_per_frame
            data = os.pread(self._frame_files[shard], size, int(first) * bytes_per_frame)
            if len(data) != size:
                raise StoreError(f"{self.path}: shard {self._shards[shard][0]} shrank while it was read")
            result.append(np.frombuffer(data, self._dtype).reshape(-1, self.frame_dim).astype(np.float32))
        return result

    def read_all(self) -> NDArray[np.float32]:
        """Return all embeddings, float32. Shape (rows, dim)."""
        parts = [np.fromfile(self.path / f"{shard:05d}.bin", dtype=self._dtype) for shard, _ in self._shards]
        return np.concatenate(parts).reshape(-1, self.dim).astype(np.float32)

    def verify(self) -> None:
        """Compare every shard with the SHA-256 in its sidecar. Raises StoreError for a damaged shard."""
        for shard, sidecar in self._shards:
            if file_digest(self.path / f"{shard:05d}.bin") != sidecar["sha256"]:
                raise StoreError(f"{self.path / f'{shard:05d}.bin'} is damaged; delete it and embed again")
            frames = self.path / f"{shard:05d}.frames.bin"
            if self.frame_dim and file_digest(frames) != sidecar["frames"]["sha256"]:
                raise StoreError(f"{frames} is damaged; delete it and embed again")

    @property
    def digest(self) -> str:
        """SHA-256 of the fingerprint and the contents of all shards."""
        return digest([self.fingerprint, [sidecar["sha256"] for _, sidecar in self._shards]])

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.ids)}

    @cached_property
    def _files(self) -> list[int]:
        return [os.open(self.path / f"{shard:05d}.bin", os.O_RDONLY | os.O_CLOEXEC) for shard, _ in self._shards]

    @cached_property
    def _frame_files(self) -> list[int]:
        return [os.open(self.path / f"{shard:05d}.frames.bin", os.O_RDONLY | os.O_CLOEXEC) for shard, _ in self._shards]

    @cached_property
    def _frame_starts(self) -> list[NDArray[np.int64]]:
        """First frame of each clip of each shard, and the end of the last clip. One array per shard."""
        return [np.cumsum([0, *sidecar["frames"]["counts"]]) for _, sidecar in self._shards]
