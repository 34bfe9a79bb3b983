"""Parts of the format of a store that its reader and writer share. `reader.py` describes the files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError

SCHEMA = 2
MAX_MAGNITUDE = 1e6  # FAISS aborts the process for larger values; float16 becomes infinite before that


@dataclass(frozen=True)
class ClipFrames:
    """Frames of one clip.

    Args:
        frames: Shape (frames, frame_dim).
        times: Centre of each frame, in seconds. Shape (frames,).
    """

    frames: NDArray[Any]
    times: NDArray[np.float32]


@dataclass(frozen=True)
class SetAside:
    """A clip that was not embedded or loaded.

    Args:
        id: Name of the clip.
        reason: Code of the reason, such as "malformed".
        detail: The observation, for a reader.
    """

    id: str
    reason: str
    detail: str


def forecast_bytes(clips: int, numbers: int, dtype: str = "float16") -> int:
    """Return the bytes on disk of a store with `numbers` values per clip."""
    return clips * numbers * np.dtype(dtype).itemsize


def shard_is_done(path: Path, shard: int) -> bool:
    """Return whether the sidecar exists and the data files have the sizes that it states."""
    try:
        sidecar = json.loads((path / f"{shard:05d}.json").read_text())
        complete = (path / f"{shard:05d}.bin").stat().st_size == sidecar["bytes"]
        frames = sidecar.get("frames")
        return bool(
            complete and (frames is None or (path / f"{shard:05d}.frames.bin").stat().st_size == frames["bytes"])
        )
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return False


def read_json(path: Path) -> Any:
    """Read a JSON file of a store. Raises StoreError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error.msg}); delete the store and embed again") from error
