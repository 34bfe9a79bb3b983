"""Parts of the format of a store that its reader and writer share. docs/store_format.md describes the files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError

SCHEMA = 3
READABLE_SCHEMAS = (2, SCHEMA)  # 2 has all ids in plan.json
MAX_MAGNITUDE = 1e6  # FAISS aborts the process for larger values; float16 becomes infinite before that
REMOVED = "removed"  # reason of a row without an embedding because its clip is not in the data any more


@dataclass(frozen=True)
class RowFormat:
    """Size and type of a row.

    Args:
        dim: Size of a clip's embedding.
        frame_dim: Size of a frame's embedding. 0: there are no frames.
        dtype: Type on disk, little-endian.
    """

    dim: int
    frame_dim: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, fingerprint: Mapping[str, Any]) -> RowFormat:
        """Return the format that the fingerprint of a store states."""
        dtype = np.dtype(fingerprint["dtype"]).newbyteorder("<")
        return cls(int(fingerprint["dim"]), int(fingerprint["frame_dim"]), dtype)


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


@dataclass(frozen=True)
class ShardFiles:
    """Paths of the files of one shard.

    Args:
        folder: Folder of the store.
        number: Number of the shard.
    """

    folder: Path
    number: int

    def _path(self, suffix: str) -> Path:
        return self.folder / f"{self.number:05d}{suffix}"

    @property
    def vectors(self) -> Path:
        """Embeddings of clips, row after row."""
        return self._path(".bin")

    @property
    def frames(self) -> Path:
        """Frames, clip after clip."""
        return self._path(".frames.bin")

    @property
    def stamps(self) -> Path:
        """States of the audio files when they were embedded."""
        return self._path(".stamps")

    @property
    def sidecar(self) -> Path:
        """Sizes, digests and the clips that were set aside. It is written last."""
        return self._path(".json")

    def journal(self, segment: int) -> Path:
        """Rows of an unfinished shard."""
        return self._path(f".partial.{segment:04d}")

    def journals(self) -> list[Path]:
        """Return the existing segments of the journal, in order. Their numbers have no gaps."""
        paths: list[Path] = []
        while (path := self.journal(len(paths))).exists():
            paths.append(path)
        return paths


@dataclass(frozen=True)
class Sidecar:
    """The facts of a finished shard.

    Args:
        values: Content of the file.
        written: Inode and time of the file, by which a replaced one is recognised.
    """

    values: Mapping[str, Any]
    written: tuple[int, int]

    @classmethod
    def read(cls, files: ShardFiles) -> Sidecar | None:
        """Read the sidecar of a shard. None: there is none, or the data files do not have the sizes that it states."""
        try:
            written = files.sidecar.stat()
            values = json.loads(files.sidecar.read_text())
            is_whole = files.vectors.stat().st_size == values["bytes"] and "set_aside" in values
            if "frames" in values:
                is_whole &= files.frames.stat().st_size == values["frames"]["bytes"]
        except (FileNotFoundError, json.JSONDecodeError, KeyError):
            return None
        return cls(values, (written.st_ino, written.st_mtime_ns)) if is_whole else None

    def is_current(self, files: ShardFiles) -> bool:
        """Return whether the sidecar on disk is this one."""
        try:
            written = files.sidecar.stat()
        except FileNotFoundError:
            return False
        return (written.st_ino, written.st_mtime_ns) == self.written

    @property
    def rows(self) -> int:
        """Number of planned rows that the shard has, embedded or set aside."""
        return int(self.values["rows"]) + len(self.values["set_aside"])

    @property
    def set_aside(self) -> list[SetAside]:
        """The rows without an embedding, those of removed clips too."""
        return [SetAside(*clip) for clip in self.values["set_aside"]]


def forecast_bytes(clips: int, numbers: int, dtype: str = "float16") -> int:
    """Return the bytes on disk of a store with `numbers` values per clip."""
    return clips * numbers * np.dtype(dtype).itemsize


def read_json(path: Path) -> Any:
    """Read a JSON file of a store. Raises StoreError if it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise StoreError(f"{path} is damaged ({error.msg}); delete the store and embed again") from error
