"""Read a store of embeddings by clip id. docs/store_format.md describes the files."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError
from distill.data.files import file_digest
from distill.data.fingerprint import digest
from distill.data.store.format import REMOVED, SCHEMA, SetAside, ShardFiles, Sidecar
from distill.data.store.journal import read_journal_rows
from distill.data.store.plan import Plan
from distill.data.store.stamps import read_stamps
from distill.data.store.texts import TextIndex, Texts

_MAX_OPEN_FILES = 512  # half of what Linux lets a process open by default


class EmbeddingStore:
    """A store of embeddings, read by clip id or as a whole.

    Rows are read from files. A memory-mapped file that shrinks would kill the process without a message.

    Args:
        path: Folder written by `distill embed`.
        partial: True accepts a store that is not complete.

    Attributes:
        ids: Clips that have an embedding, in the order of `read_all`.
        set_aside: Clips that could not be embedded.
        removed: Number of clips whose embedding was dropped because they are not in the data any more.
        shard_count: Number of shards of the complete store.
        missing_shards: Shards that are not finished.

    Raises:
        StoreError: the folder is not a store, or a shard is missing or damaged.
    """

    def __init__(self, path: str | Path, partial: bool = False) -> None:
        self.path = Path(path)
        plan = Plan.read(self.path)
        self.fingerprint: dict[str, Any] = dict(plan.fingerprint)
        self.origin: dict[str, Any] = dict(plan.origin)
        self.dim, self.frame_dim = plan.row_format.dim, plan.row_format.frame_dim
        self._dtype = plan.row_format.dtype
        self._row_bytes = self.dim * self._dtype.itemsize
        self.set_aside: list[SetAside] = []
        self.removed = 0
        self._starts: list[int] = []  # first row of each done shard
        self._shards: list[tuple[ShardFiles, Sidecar]] = []
        self._kept: list[NDArray[np.bool_] | None] = []  # which planned clips have an embedding; None: all
        self.missing_shards: list[int] = []
        self.ids, self.shard_count = self._add_shards(plan), plan.shard_count
        self._open_files = _OpenFiles(self.path)
        if not partial and self.missing_shards:
            raise StoreError(
                f"{self.path} is not complete ({len(self._shards)} of {plan.shard_count} shards); "
                f"run the same `distill embed` again to continue it"
            )

    def _add_shards(self, plan: Plan) -> Texts:
        """Register the shards that are done. Return the clips of their rows."""
        held: list[NDArray[np.int64]] = []
        count = 0
        for shard in range(plan.shard_count):
            files, rows = ShardFiles(self.path, shard), plan.rows(shard)
            sidecar = Sidecar.read(files)
            if sidecar is None or sidecar.rows != len(rows):
                self.missing_shards.append(shard)
                continue
            numbers, kept = np.arange(rows.start, rows.stop), None
            if aside := {clip.id: clip for clip in sidecar.set_aside}:
                kept = np.array([clip_id not in aside for clip_id in plan.ids_of(shard)])
                numbers = numbers[kept]
                unusable = [clip for clip in aside.values() if clip.reason != REMOVED]
                self.set_aside.extend(unusable)
                self.removed += len(aside) - len(unusable)
            self._starts.append(count)
            self._shards.append((files, sidecar))
            self._kept.append(kept)
            held.append(numbers)
            count += len(numbers)
        if count == len(plan.ids):
            return plan.ids
        return plan.ids.take(np.concatenate([np.zeros(0, np.int64), *held]))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, clip_id: str) -> bool:
        return clip_id in self._index

    def __getitem__(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """Return the embeddings of clips, float32. Shape (len(ids), dim). Raises StoreError for an unknown id."""
        return self.read_rows(self._known_rows(ids))

    def rows_of(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each clip, int64; -1 for a clip without an embedding."""
        return self._index.find_all(ids)

    def read_rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings at `rows`, in this order, float32. Shape (len(rows), dim)."""
        result = np.empty((len(rows), self.dim), dtype=self._dtype)
        buffer = result.reshape(-1).view(np.uint8).data
        shards = np.searchsorted(self._first_rows, rows, side="right") - 1
        offsets = (rows - self._first_rows[shards]) * self._row_bytes
        for row, (shard, offset) in enumerate(zip(shards.tolist(), offsets.tolist(), strict=True)):
            files, sidecar = self._shards[shard]
            start = row * self._row_bytes
            file = self._open_files.descriptor(files.vectors, files, sidecar)
            if os.preadv(file, [buffer[start : start + self._row_bytes]], offset) != self._row_bytes:
                raise StoreError(f"{self.path}: shard {files.number} shrank while it was read")
        return result.astype(np.float32)

    @cached_property
    def frame_times(self) -> NDArray[np.float32]:
        """Centres of the frames of the longest clip, in seconds. Shape (frames,)."""
        times = [sidecar.values["frames"]["times"] for _, sidecar in self._shards]
        return np.array(max(times, key=len), dtype=np.float32)

    def frames(self, ids: Sequence[str]) -> list[NDArray[np.float32]]:
        """Return the frames of clips, float32, each (frames, frame_dim). Their times are the first of `frame_times`.

        Raises:
            StoreError: an id is unknown, or a shard is damaged.
        """
        rows, result = self._known_rows(ids), []
        shards = np.searchsorted(self._first_rows, rows, side="right") - 1
        bytes_per_frame = self.frame_dim * self._dtype.itemsize
        for row, shard in zip(rows.tolist(), shards.tolist(), strict=True):
            files, sidecar = self._shards[shard]
            first, last = self._frame_starts[shard][row - self._starts[shard] :][:2]
            size = int(last - first) * bytes_per_frame
            file = self._open_files.descriptor(files.frames, files, sidecar)
            data = os.pread(file, size, int(first) * bytes_per_frame)
            if len(data) != size:
                raise StoreError(f"{self.path}: shard {files.number} shrank while it was read")
            result.append(np.frombuffer(data, self._dtype).reshape(-1, self.frame_dim).astype(np.float32))
        return result

    def window_digests(self) -> NDArray[np.uint32]:
        """Return the digest of the window of each clip when it was embedded. Shape (rows,). 0: unknown.

        For a mixture of two clips it depends on both.
        """
        digests = [np.zeros(0, np.uint32)]
        for (files, sidecar), kept in zip(self._shards, self._kept, strict=True):
            stamps = read_stamps(files.stamps, sidecar.rows)["window"]
            digests.append(stamps if kept is None else stamps[kept])
        return np.concatenate(digests)

    def blocks(self) -> Iterator[tuple[Texts, NDArray[np.float32]]]:
        """Yield ids and embeddings (clips, dim), float32, of one shard after another. Together they are all rows."""
        for (files, sidecar), start in zip(self._shards, self._starts, strict=True):
            count = int(sidecar.values["rows"])
            file = self._open_files.descriptor(files.vectors, files, sidecar)
            data = os.pread(file, count * self._row_bytes, 0)
            if len(data) != count * self._row_bytes:
                raise StoreError(f"{self.path}: shard {files.number} shrank while it was read")
            vectors = np.frombuffer(data, self._dtype).reshape(count, self.dim)
            yield self.ids[start : start + count], vectors.astype(np.float32)

    def read_all(self) -> NDArray[np.float32]:
        """Return all embeddings, float32. Shape (rows, dim)."""
        result, row = np.empty((len(self), self.dim), np.float32), 0
        for _, vectors in self.blocks():
            result[row : row + len(vectors)] = vectors
            row += len(vectors)
        return result

    def verify(self) -> None:
        """Compare every file with the size and SHA-256 in its sidecar. Raises StoreError for a damaged shard."""
        for shard in self.missing_shards:
            files = ShardFiles(self.path, shard)
            if files.sidecar.exists() and Sidecar.read(files) is None:
                raise StoreError(
                    f"{files.sidecar.with_suffix('')} is damaged: a file of the shard is missing or has another size; "
                    "run the same `distill embed` again, which embeds its clips again"
                )
        for files, sidecar in self._shards:
            _verify(files.vectors, sidecar.values["sha256"])
            if self.frame_dim:
                _verify(files.frames, sidecar.values["frames"]["sha256"])

    def kept_rows(self) -> int:
        """Return the number of clips that unfinished shards hold, so that they need not be embedded again."""
        count = 0
        for files in (ShardFiles(self.path, shard) for shard in self.missing_shards):
            sidecar = Sidecar.read(files)  # of fewer rows, before clips were added
            kept = {clip_id for segment in read_journal_rows(files) for clip_id in segment.ids}
            count += len(kept) if sidecar is None else sidecar.rows
        return count

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the fingerprint, the ids and the contents of all shards."""
        contents = [self.fingerprint, [sidecar.values["sha256"] for _, sidecar in self._shards]]
        if self.fingerprint["schema"] == SCHEMA:  # fingerprints of earlier stores have a digest of the ids
            state = hashlib.sha256(self.ids.ends.astype("<i8").data)
            state.update(self.ids.data.data)
            contents.append(state.hexdigest())
        return digest(contents)

    def _known_rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of clips. Raises StoreError for an unknown id."""
        rows = self.rows_of(ids)
        if len(rows) and rows.min() < 0:
            unknown = ids[int(rows.argmin())]
            raise StoreError(f"{self.path} has no embedding of {unknown!r}; embed this data into it")
        return rows

    @cached_property
    def _index(self) -> TextIndex:
        return TextIndex(self.ids)

    @cached_property
    def _first_rows(self) -> NDArray[np.int64]:
        return np.asarray(self._starts, dtype=np.int64)

    @cached_property
    def _frame_starts(self) -> list[NDArray[np.int64]]:
        """First frame of each clip of each shard, and the end of the last clip. One array per shard."""
        return [np.cumsum([0, *sidecar.values["frames"]["counts"]]) for _, sidecar in self._shards]


class _OpenFiles:
    """The files of a store that were read last, kept open. They are closed when the store is deleted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: OrderedDict[Path, int] = OrderedDict()

    def descriptor(self, path: Path, files: ShardFiles, sidecar: Sidecar) -> int:
        """Return the open file at `path`. Raises StoreError if the shard was replaced since its sidecar was read."""
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
            return self._descriptors[path]
        if len(self._descriptors) >= _MAX_OPEN_FILES:
            os.close(self._descriptors.popitem(last=False)[1])
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # A writer deletes the sidecar before it replaces a shard. So the opened file is the one of an old sidecar.
        if not sidecar.is_current(files):
            os.close(descriptor)
            raise StoreError(f"{self._folder} was updated while it was read; run the command again")
        self._descriptors[path] = descriptor
        return descriptor

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _verify(path: Path, expected: str) -> None:
    if file_digest(path) != expected:
        raise StoreError(
            f"{path} is damaged; delete it and run the same `distill embed` again, which embeds its clips again"
        )
