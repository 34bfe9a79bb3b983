"""The state of the files of clips, by which an update of a store finds what changed."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.dataset import ClipDataset, Crop, Loaded
from distill.data.clips.manifest import Manifest, Rows
from distill.data.sampling.batches import Draws
from distill.data.store.stamps import STAMP, Stamps

_MAX_BYTES_OF_WHOLE_CLIPS = 64 << 20  # a file that is decoded as a whole is read up to this size for its digest
_MAX_BYTES_OF_CROPS = 8 << 20  # a crop of a long file must not cost a read of the whole file
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class StampedBatch(Loaded):
    """A loaded batch with the states of its files.

    Args:
        ids: Clips of the batch, those that were set aside too.
        stamps: States of their files before they were read. Shape (clips,).
    """

    ids: tuple[str, ...]
    stamps: Stamps


class StampedClips(ClipDataset):
    """Clips whose batches hold the states of their files too, for a store."""

    def __init__(self, manifest: Manifest, sample_rate: int, crop: Crop) -> None:
        super().__init__(manifest, sample_rate, crop)
        self._states = FileStates(manifest, crop)

    def __getitems__(self, batch: Draws) -> StampedBatch:
        """Load the clips of one batch."""
        rows = np.array(batch.rows, np.int64)
        stamps = self._states.stamps(rows)  # before the files are read: a change from now on will be seen
        for place, row in enumerate(rows.tolist()):
            stamps["content"][place] = self._states.content(row)
        loaded = super().__getitems__(batch)
        return StampedBatch(loaded.batch, loaded.set_aside, tuple(self.manifest.rows.ids.take(rows)), stamps)


class FileStates:
    """The states of the files of a manifest today.

    Args:
        manifest: The clips.
        crop: Part of each clip that is embedded.
    """

    def __init__(self, manifest: Manifest, crop: Crop) -> None:
        self.rows = manifest.rows
        self.max_bytes = _MAX_BYTES_OF_CROPS if crop.seconds else _MAX_BYTES_OF_WHOLE_CLIPS
        self._last_content: tuple[tuple[str, int, int], int] | None = None

    def stamps(self, numbers: NDArray[np.int64]) -> Stamps:
        """Return the states of the clips at `numbers`, without the digests of content. Shape (clips,)."""
        stamps = np.zeros(len(numbers), STAMP)
        starts, durations = self.rows.starts[numbers], self.rows.durations[numbers]
        stamps["window"] = window_digests(starts, durations)
        last, state = "", (0, 0)
        for place, path in enumerate(_paths(self.rows, numbers)):
            if path != last:  # windows of one file follow each other
                last, state = path, _state(path)
            stamps["size"][place], stamps["time"][place] = state
        return stamps

    def content(self, number: int) -> int:
        """Return the digest of the content of a clip's file, never 0. 0: the file is too large, or cannot be read."""
        path = next(_paths(self.rows, np.array([number])))
        size, time = _state(path)
        if not 0 < size <= self.max_bytes:
            return 0
        if self._last_content is None or self._last_content[0] != (path, size, time):
            self._last_content = ((path, size, time), _content_digest(path))
        return self._last_content[1]


def window_digests(starts: NDArray[np.float64], durations: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return a digest of each start and duration in seconds, never 0. NaN is the duration to the end of the file."""
    bits = (starts + 0.0).view(np.uint64), np.where(np.isnan(durations), -1.0, durations).view(np.uint64)
    mixed = bits[0] * np.uint64(0x9E3779B97F4A7C15) + bits[1]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of SplitMix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    digests = ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)
    return np.maximum(digests, np.uint32(1))


def _paths(rows: Rows, numbers: NDArray[np.int64]) -> Iterator[str]:
    """Yield the path of the file of each clip."""
    if rows.paths is not None:
        yield from rows.paths.take(numbers)
    else:
        prefix = f"{rows.root}/"
        for clip_id in rows.ids.take(numbers):
            yield prefix + clip_id


def _state(path: str) -> tuple[int, int]:
    """Return size in bytes and time of the last change in nanoseconds; two zeros for a file that cannot be read."""
    try:
        status = os.stat(path)
        return (status.st_size, status.st_mtime_ns) if os.access(path, os.R_OK) else (0, 0)
    except (OSError, ValueError):
        return 0, 0


def _content_digest(path: str) -> int:
    """Return the CRC-32 of a file, never 0. 0: it cannot be read."""
    crc = 0
    try:
        with open(path, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return 0
            while block := file.read(_READ_BYTES):
                crc = zlib.crc32(block, crc)
    except (OSError, ValueError):
        return 0
    return crc or 1
