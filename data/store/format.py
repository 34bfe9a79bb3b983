"""The files of a store: names, sizes, and the rows that they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError

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


def forecast_bytes(clips: int, numbers: int, dtype: str = "float16") -> int:
    """Disk that a store will take, with so many numbers for each clip."""
    return clips * numbers * np.dtype(dtype).itemsize


def shard_is_done(path: Path, shard: int) -> bool:
    """Whether the sidecar is there and the data has the size that it says."""
    try:
        sidecar = json.loads((path / f"{shard:05d}.json").read_text())
        whole = (path / f"{shard:05d}.bin").stat().st_size == sidecar["bytes"]
        frames = sidecar.get("frames")
        return bool(whole and (frames is None or (path / f"{shard:05d}.frames.bin").stat().st_size == frames["bytes"]))
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


def read_json(path: Path) -> Any:
    """Read a JSON file of a store. Raises StoreError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error.msg}); delete the store and embed again") from error
