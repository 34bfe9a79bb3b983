"""Finished shards on disk: written once all rows are known, and read back for an update."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill.data.errors import StoreError
from distill.data.files import write_atomically, write_json
from distill.data.store.format import ClipFrames, RowFormat, ShardFiles, Sidecar
from distill.data.store.journal import delete_journal
from distill.data.store.shard import ASIDE, EMBEDDED, Block, Shard
from distill.data.store.stamps import read_stamps, write_stamps


def write_finished(files: ShardFiles, shard: Shard) -> None:
    """Write a shard, and delete its journal.

    Raises:
        StoreError: a clip is neither embedded nor set aside, or the frames of its clips have different times.
    """
    if missing := shard.missing:
        raise StoreError(f"shard {shard.number}: {missing[0]!r} was neither embedded nor set aside")
    block, row_format = shard.block(), shard.row_format
    times = _common_times(shard.number, block.frames) if row_format.frame_dim else []
    files.sidecar.unlink(missing_ok=True)  # from here on, the shard is not done
    data = np.ascontiguousarray(block.vectors)
    write_atomically(files.vectors, lambda file: file.write(data.data))
    sidecar: dict[str, Any] = {"rows": len(data), "bytes": data.nbytes, "sha256": _digest(data)}
    if row_format.frame_dim:
        empty = np.zeros((0, row_format.frame_dim), row_format.dtype)
        frames = np.concatenate([empty, *(clip.frames for clip in block.frames)])
        write_atomically(files.frames, lambda file: file.write(frames.data))
        counts = [len(clip.times) for clip in block.frames]
        sidecar["frames"] = {
            "counts": counts,
            "times": times,
            "bytes": frames.nbytes,
            "sha256": _digest(frames),
        }
    if block.stamps["window"].any():
        write_stamps(files.stamps, block.stamps)
    else:
        files.stamps.unlink(missing_ok=True)
    sidecar["set_aside"] = [[clip.id, clip.reason, clip.detail] for clip in block.set_aside]
    write_json(files.sidecar, sidecar)
    delete_journal(files)


def read_finished(files: ShardFiles, sidecar: Sidecar, ids: tuple[str, ...], row_format: RowFormat) -> Block:
    """Read all rows of a finished shard.

    Args:
        files: Files of the shard.
        sidecar: Its sidecar.
        ids: Clips that the sidecar describes.
        row_format: Size and type of a row.
    """
    set_aside = sidecar.set_aside
    aside = {clip.id: clip for clip in set_aside}
    states = np.array([ASIDE if clip_id in aside else EMBEDDED for clip_id in ids], np.uint8)
    vectors = np.fromfile(files.vectors, row_format.dtype).reshape(-1, row_format.dim)
    frames: list[ClipFrames] = []
    if row_format.frame_dim:
        described = sidecar.values["frames"]
        times = np.array(described["times"], np.float32)
        values = np.fromfile(files.frames, row_format.dtype).reshape(-1, row_format.frame_dim)
        parts = np.split(values, np.cumsum(described["counts"])[:-1]) if described["counts"] else []
        frames = [ClipFrames(part, times[: len(part)]) for part in parts]
    in_order = [aside[clip_id] for clip_id in ids if clip_id in aside]
    return Block(ids, states, read_stamps(files.stamps, len(ids)), vectors, frames, in_order)


def _common_times(shard: int, clips: Sequence[ClipFrames]) -> list[float]:
    """Return the times of the longest clip, in seconds. Raises StoreError if another clip has other times."""
    longest = max((clip.times for clip in clips), key=len, default=np.zeros(0, np.float32))
    for clip in clips:
        if not np.allclose(clip.times, longest[: len(clip.times)], atol=1e-3):
            raise StoreError(f"shard {shard}: clips whose frames have other times cannot share a shard")
    return [round(float(time), 6) for time in longest]


def _digest(values: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(values.data).hexdigest()
