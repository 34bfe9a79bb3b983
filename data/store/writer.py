"""Write a store, shard by shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import remove_temporaries, write_atomically, write_json
from distill.data.fingerprint import digest, refuse_difference
from distill.data.store.format import (
    MAX_MAGNITUDE,
    ROWS_PER_SHARD,
    ROWS_WITH_FRAMES,
    SCHEMA,
    ClipFrames,
    SetAside,
    read_json,
    shard_is_done,
)


class StoreWriter:
    """Writes a store shard by shard; a killed writer goes on at the first shard that is not done.

    The caller holds `distill.data.files.lock` on the folder.

    Args:
        path: Folder, made if it is not there.
        ids: All clips of the plan, in order.
        dim: Size of an embedding.
        fingerprint: JSON values: everything that shapes an embedding. The plan's digest is added.
        dtype: "float16" or "float32", on disk.
        frame_dim: Size of a frame's embedding; 0 keeps no frames.
        rows_per_shard: Rows that a kill can cost; 0 is 4096, or 256 with frames.
        origin: JSON values that go with the embeddings but do not shape them, such as the licence of the weights.

    Raises:
        StoreError: the folder holds a store with another fingerprint or plan.
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
    ) -> None:
        self.path = Path(path)
        self.ids, self.dim, self.dtype = list(ids), dim, np.dtype(dtype).newbyteorder("<")
        self.frame_dim = frame_dim
        rows_per_shard = rows_per_shard or (ROWS_WITH_FRAMES if frame_dim else ROWS_PER_SHARD)
        shape = {"schema": SCHEMA, "dim": dim, "frame_dim": frame_dim, "dtype": dtype, "plan": digest(self.ids)}
        self.fingerprint = {**fingerprint, **shape}
        self.rows_per_shard = rows_per_shard
        self.path.mkdir(parents=True, exist_ok=True)
        remove_temporaries(self.path)
        plan = self.path / "plan.json"
        if plan.exists():
            existing = read_json(plan)
            refuse_difference(self.path, existing["fingerprint"], self.fingerprint)
            self.rows_per_shard = existing["rows_per_shard"]
        else:
            described = {"fingerprint": self.fingerprint, "origin": dict(origin), "rows_per_shard": rows_per_shard}
            write_json(plan, {**described, "ids": self.ids})

    def missing_shards(self) -> list[int]:
        """Shards that are not done, in order."""
        return [shard for shard in range(self.shard_count) if not shard_is_done(self.path, shard)]

    @property
    def shard_count(self) -> int:
        """How many shards the plan has."""
        return -(-len(self.ids) // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """Rows of the plan that a shard holds."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, len(self.ids)))

    def write(
        self,
        shard: int,
        embeddings: Mapping[str, NDArray[Any]],
        set_aside: Iterable[SetAside] = (),
        frames: Mapping[str, ClipFrames] | None = None,
    ) -> None:
        """Commit one shard.

        Args:
            shard: Its number.
            embeddings: Vector (dim,) by id. One that is not finite, or too large for the dtype, is set aside.
            set_aside: Clips that could not be embedded.
            frames: Of each clip by id, where the store keeps frames. The times of a clip must be the first of those
                of the longest.

        Raises:
            StoreError: a row of the shard is in neither, or a vector has another size.
        """
        aside = {clip.id: clip for clip in set_aside}
        ids = [self.ids[row] for row in self.rows(shard) if self.ids[row] not in aside]
        for clip_id in ids:
            if clip_id not in embeddings:
                raise StoreError(f"shard {shard}: {clip_id!r} was neither embedded nor set aside")
            if np.shape(embeddings[clip_id]) != (self.dim,):
                shape = np.shape(embeddings[clip_id])
                raise StoreError(f"shard {shard}: {clip_id!r} has shape {shape}, not ({self.dim},)")
        vectors = np.array([embeddings[clip_id] for clip_id in ids], dtype=np.float32).reshape(len(ids), self.dim)
        usable = self._usable(vectors)
        kept = {clip_id: (frames or {})[clip_id] for clip_id in ids} if self.frame_dim else {}
        for row, clip_id in enumerate(kept):
            usable[row] &= bool(self._usable(kept[clip_id].frames).all())
        for row in np.flatnonzero(~usable).tolist():
            clip_id = ids[row]
            seen = np.append(vectors[row], kept[clip_id].frames) if kept else vectors[row]
            aside[clip_id] = SetAside(clip_id, *_why_unusable(seen, self.dtype))
        data = _cast(vectors if usable.all() else vectors[usable], self.dtype)
        write_atomically(self.path / f"{shard:05d}.bin", lambda file: file.write(data.data))
        sidecar = {"rows": len(data), "bytes": data.nbytes, "sha256": hashlib.sha256(data.data).hexdigest()}
        if self.frame_dim:
            sidecar["frames"] = self._write_frames(shard, [kept[ids[row]] for row in np.flatnonzero(usable)])
        sidecar["set_aside"] = [[clip.id, clip.reason, clip.detail] for clip in aside.values()]
        write_json(self.path / f"{shard:05d}.json", sidecar)

    def _write_frames(self, shard: int, clips: list[ClipFrames]) -> dict[str, Any]:
        """Write the frames of a shard; what its sidecar says of them."""
        longest = max((clip.times for clip in clips), key=len, default=np.zeros(0, np.float32))
        for clip in clips:
            if not np.allclose(clip.times, longest[: len(clip.times)], atol=1e-3):
                raise StoreError(f"shard {shard}: clips whose frames lie at other times cannot share it")
        empty = np.zeros((0, self.frame_dim), np.float32)
        data = _cast(np.concatenate([empty, *(clip.frames for clip in clips)]).astype(np.float32), self.dtype)
        write_atomically(self.path / f"{shard:05d}.frames.bin", lambda file: file.write(data.data))
        return {
            "counts": [len(clip.times) for clip in clips],
            "times": [round(float(time), 6) for time in longest],
            "bytes": data.nbytes,
            "sha256": hashlib.sha256(data.data).hexdigest(),
        }

    def _usable(self, vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which rows are finite and fit the dtype. Shape (rows,)."""
        limit = min(MAX_MAGNITUDE, float(np.finfo(self.dtype).max))
        highest, lowest = vectors.max(axis=1, initial=0.0), vectors.min(axis=1, initial=0.0)
        return (highest <= limit) & (lowest >= -limit)  # false for NaN too


def _cast(vectors: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The same numbers in the dtype of the store; torch converts to half ten times as fast as NumPy."""
    if dtype == np.float16:
        return torch.from_numpy(vectors).half().numpy()
    return vectors.astype(dtype)


def _why_unusable(vector: NDArray[np.float32], dtype: np.dtype[Any]) -> tuple[str, str]:
    """Reason and detail of a vector that is not stored."""
    if not np.isfinite(vector).all():
        return "teacher_non_finite", "the encoder gave NaN or infinity"
    return "teacher_out_of_range", f"an element is {np.abs(vector).max():g}, too large for {dtype.name}"
