"""The journal of a shard: the rows that are embedded so far, on disk before the shard is complete.

Each call adds a segment beside the shard. A row of a later segment replaces that of an earlier one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from distill.data.files import write_atomically
from distill.data.store.format import ClipFrames, SetAside, ShardFiles
from distill.data.store.shard import Block
from distill.data.store.stamps import Stamps
from distill.data.store.texts import Texts


class JournalRows(NamedTuple):
    """The clips of a segment, without their embeddings.

    Args:
        ids: Clips of the rows.
        states: State of each row. Shape (rows,).
        stamps: States of the audio files. Shape (rows,).
        set_aside: Rows without an embedding.
    """

    ids: tuple[str, ...]
    states: NDArray[np.uint8]
    stamps: Stamps
    set_aside: list[SetAside]


def write_journal(files: ShardFiles, block: Block) -> None:
    """Write a further segment. Without any row, do nothing."""
    if not block.ids:
        return
    ids = Texts.of(block.ids)
    aside = json.dumps([[clip.id, clip.reason, clip.detail] for clip in block.set_aside])
    arrays = {
        "ids": ids.data,
        "ends": ids.ends,
        "states": block.states,
        "stamps": block.stamps,
        "vectors": block.vectors,
        "set_aside": np.frombuffer(aside.encode(), np.uint8),
    }
    if block.frames:
        arrays["frames"] = np.concatenate([clip.frames for clip in block.frames])
        arrays["times"] = np.concatenate([clip.times for clip in block.frames])
        arrays["counts"] = np.array([len(clip.times) for clip in block.frames], np.int64)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(files.journal(len(files.journals())), lambda file: file.write(buffer.getbuffer()))


def read_journal(files: ShardFiles) -> Iterator[Block]:
    """Yield the rows of each segment, in order."""
    for path in files.journals():
        if (arrays := _arrays(path)) is not None:
            rows = _rows(arrays)
            yield Block(rows.ids, rows.states, rows.stamps, arrays["vectors"], _frames(arrays), rows.set_aside)


def read_journal_rows(files: ShardFiles) -> Iterator[JournalRows]:
    """Yield the clips of each segment, in order, without reading the embeddings."""
    for path in files.journals():
        if (arrays := _arrays(path, ("ids", "ends", "states", "stamps", "set_aside"))) is not None:
            yield _rows(arrays)


def delete_journal(files: ShardFiles) -> None:
    """Delete all segments of a shard, the last one first."""
    for path in reversed(files.journals()):
        path.unlink()


def _arrays(path: Path, names: tuple[str, ...] = ()) -> dict[str, NDArray[Any]] | None:
    """Return arrays of a segment; all if no names are given. None: the segment is damaged, and its rows are missing."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files}
    except (BadZipFile, ValueError, KeyError, EOFError, OSError):
        return None


def _rows(arrays: dict[str, NDArray[Any]]) -> JournalRows:
    set_aside = [SetAside(*clip) for clip in json.loads(arrays["set_aside"].tobytes())]
    ids = tuple(Texts(arrays["ids"], arrays["ends"]))
    return JournalRows(ids, arrays["states"], arrays["stamps"], set_aside)


def _frames(arrays: dict[str, NDArray[Any]]) -> list[ClipFrames]:
    if "counts" not in arrays:
        return []
    ends = np.cumsum(arrays["counts"])[:-1]
    parts = zip(np.split(arrays["frames"], ends), np.split(arrays["times"], ends), strict=True)
    return [ClipFrames(frames, times) for frames, times in parts]
