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
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import file_digest, remove_temporaries, write_atomically, write_json
from distill.data.fingerprint import digest, refuse_difference

SCHEMA = 2
ROWS_PER_SHARD, ROWS_WITH_FRAMES = 4096, 256  # a shard is held in memory until it is written
MAX_MAGNITUDE = 1e6  # beyond this FAISS aborts the process, and a float16 is infinite long before


@dataclass(frozen=True)
class ClipFrames:
    """Frames of one clip.

    Args:
        frames: Shape (frames, frame_dim).
        times: Centre of each, in seconds. Shape (frames,).
    """

    frames: NDArray[Any]
    times: NDArray[np.float32]


@dataclass(frozen=True)
class SetAside:
    """A clip without an embedding, and why."""

    id: str
    reason: str
    detail: str


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
            existing = _read_json(plan)
            refuse_difference(self.path, existing["fingerprint"], self.fingerprint)
            self.rows_per_shard = existing["rows_per_shard"]
        else:
            described = {"fingerprint": self.fingerprint, "origin": dict(origin), "rows_per_shard": rows_per_shard}
            write_json(plan, {**described, "ids": self.ids})

    def missing_shards(self) -> list[int]:
        """Shards that are not done, in order."""
        return [shard for shard in range(self.shard_count) if not _shard_is_done(self.path, shard)]

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
        plan = _read_json(self.path / "plan.json")
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
        if not _shard_is_done(self.path, shard):
            return
        sidecar = _read_json(self.path / f"{shard:05d}.json")
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


def forecast_bytes(clips: int, numbers: int, dtype: str = "float16") -> int:
    """Disk that a store will take, with so many numbers for each clip."""
    return clips * numbers * np.dtype(dtype).itemsize


def _shard_is_done(path: Path, shard: int) -> bool:
    """Whether the sidecar is there and the data has the size that it says."""
    try:
        sidecar = json.loads((path / f"{shard:05d}.json").read_text())
        whole = (path / f"{shard:05d}.bin").stat().st_size == sidecar["bytes"]
        frames = sidecar.get("frames")
        return bool(whole and (frames is None or (path / f"{shard:05d}.frames.bin").stat().st_size == frames["bytes"]))
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


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


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error.msg}); delete the store and embed again") from error
