"""Write a store of embeddings, shard by shard. `reader.py` describes the files."""

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
    SCHEMA,
    ClipFrames,
    SetAside,
    read_json,
    shard_is_done,
)

_ROWS_PER_SHARD, _ROWS_WITH_FRAMES = 4096, 256  # a shard is in memory until it is written


class StoreWriter:
    """A writer of shards. After a kill, a new writer continues with the shards that are not done.

    The caller holds `distill.data.files.lock` on the folder.

    Args:
        path: Folder, created if it does not exist.
        ids: All clips of the plan, in order.
        dim: Size of an embedding.
        fingerprint: JSON values of all that determines an embedding. The digest of the plan is added.
        dtype: "float16" or "float32", on disk.
        frame_dim: Size of the embedding of a frame. 0 stores no frames.
        rows_per_shard: Rows of a shard, which are lost by a kill. 0 means 4096, or 256 with frames.
        origin: JSON values about the embeddings that do not determine them, such as the licence of the weights.

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
        rows_per_shard = rows_per_shard or (_ROWS_WITH_FRAMES if frame_dim else _ROWS_PER_SHARD)
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
        """Return the shards that are not done, in order."""
        return [shard for shard in range(self.shard_count) if not shard_is_done(self.path, shard)]

    @property
    def shard_count(self) -> int:
        """Number of shards of the plan."""
        return -(-len(self.ids) // self.rows_per_shard)

    def rows(self, shard: int) -> range:
        """Return the rows of the plan that a shard holds."""
        return range(shard * self.rows_per_shard, min((shard + 1) * self.rows_per_shard, len(self.ids)))

    def write(
        self,
        shard: int,
        embeddings: Mapping[str, NDArray[Any]],
        set_aside: Iterable[SetAside] = (),
        frames: Mapping[str, ClipFrames] | None = None,
    ) -> None:
        """Write one shard.

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
        clip_frames = {clip_id: (frames or {})[clip_id] for clip_id in ids} if self.frame_dim else {}
        for row, clip_id in enumerate(clip_frames):
            usable[row] &= bool(self._usable(clip_frames[clip_id].frames).all())
        for row in np.flatnonzero(~usable).tolist():
            clip_id = ids[row]
            values = np.append(vectors[row], clip_frames[clip_id].frames) if clip_frames else vectors[row]
            aside[clip_id] = SetAside(clip_id, *_reason_unusable(values, self.dtype))
        data = _cast(vectors if usable.all() else vectors[usable], self.dtype)
        write_atomically(self.path / f"{shard:05d}.bin", lambda file: file.write(data.data))
        sidecar = {"rows": len(data), "bytes": data.nbytes, "sha256": hashlib.sha256(data.data).hexdigest()}
        if self.frame_dim:
            sidecar["frames"] = self._write_frames(shard, [clip_frames[ids[row]] for row in np.flatnonzero(usable)])
        sidecar["set_aside"] = [[clip.id, clip.reason, clip.detail] for clip in aside.values()]
        write_json(self.path / f"{shard:05d}.json", sidecar)

    def _write_frames(self, shard: int, clips: list[ClipFrames]) -> dict[str, Any]:
        """Write the frames of a shard. Return the entry of its sidecar."""
        longest = max((clip.times for clip in clips), key=len, default=np.zeros(0, np.float32))
        for clip in clips:
            if not np.allclose(clip.times, longest[: len(clip.times)], atol=1e-3):
                raise StoreError(f"shard {shard}: clips whose frames have other times cannot share a shard")
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
        """Return which rows are finite and fit the dtype. Shape (rows,)."""
        limit = min(MAX_MAGNITUDE, float(np.finfo(self.dtype).max))
        highest, lowest = vectors.max(axis=1, initial=0.0), vectors.min(axis=1, initial=0.0)
        return (highest <= limit) & (lowest >= -limit)  # also False for NaN


def _cast(vectors: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the vectors in the dtype of the store."""
    # torch converts to half ten times as fast as NumPy
    if dtype == np.float16:
        return torch.from_numpy(vectors).half().numpy()
    return vectors.astype(dtype)


def _reason_unusable(values: NDArray[np.float32], dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return reason and detail of values that cannot be stored."""
    if not np.isfinite(values).all():
        return "teacher_non_finite", "the output of the encoder is NaN or infinite"
    return "teacher_out_of_range", f"an element is {np.abs(values).max():g}, too large for {dtype.name}"
