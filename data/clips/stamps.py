"""The state of the files of clips, by which an update of a store finds what changed."""

from __future__ import annotations

import math
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.parts import WHOLE_FILE, Member, Part, open_part
from distill.data.audio.remote import is_address, state_of
from distill.data.clips.dataset import ClipDataset, Crop, Loaded
from distill.data.clips.manifest import Manifest, Rows
from distill.data.clips.views import mixed_bits, name_key
from distill.data.errors import AudioError
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

    def __init__(self, manifest: Manifest, sample_rate: int, crop: Crop, longest_seconds: float = math.inf) -> None:
        super().__init__(manifest, sample_rate, crop, longest_seconds=longest_seconds)
        self._states = FileStates(manifest, crop)

    def __getitems__(self, batch: Draws) -> StampedBatch:
        """Load the clips of one batch."""
        rows = np.array(batch.rows, np.int64)
        stamps = self._states.stamps(rows)  # before the files are read: a change from now on will be seen
        for place, row in enumerate(rows.tolist()):
            stamps["content"][place] = self._states.content(row)
        loaded = super().__getitems__(batch)
        ids = tuple(self.manifest.rows.ids.take(rows))
        return StampedBatch(loaded.batch, loaded.set_aside, ids, stamps, long=loaded.long, seconds=loaded.seconds)


class FileStates:
    """The states of the files of a manifest today.

    A sound inside a container has the size of its own bytes, and the time of the container. Instead of the time, a file
    of another machine has a number of its version; its content is not read for a digest. The state of a mixture of two
    clips is that of both files.

    Args:
        manifest: The clips.
        crop: Part of each clip that is embedded.
    """

    def __init__(self, manifest: Manifest, crop: Crop) -> None:
        self.rows = manifest.rows
        self.max_bytes = _MAX_BYTES_OF_CROPS if crop.seconds else _MAX_BYTES_OF_WHOLE_CLIPS
        self._last_content: tuple[tuple[str, Part | None, int, int], int] | None = None

    def stamps(self, numbers: NDArray[np.int64]) -> Stamps:
        """Return the states of the clips at `numbers`, without the digests of content. Shape (clips,)."""
        stamps, views = _stamps_of(self.rows, numbers), self.rows.views
        if views is not None and len(mixed := np.flatnonzero((partners := views.partners(numbers)) >= 0)):
            clips, partners = views.clips.rows, partners[mixed]
            others = _stamps_of(clips, partners)
            stamps["size"][mixed] += others["size"]
            stamps["time"][mixed] += others["time"]
            stamps["window"][mixed] = mixture_digests(clips, views.places[numbers[mixed]], partners)
        return stamps

    def content(self, number: int) -> int:
        """Return the digest of the bytes of a clip's sound, never 0. 0: they are too many, or cannot be read."""
        own, views = self._content(self.rows, number), self.rows.views
        partner = -1 if views is None else int(views.partners(np.array([number]))[0])
        if views is None or partner < 0:
            return own
        other = self._content(views.clips.rows, partner)
        return (zlib.crc32(other.to_bytes(4), own) or 1) if own and other else 0

    def _content(self, rows: Rows, number: int) -> int:
        """Return the digest of the bytes of one clip, as `content` does."""
        path = next(_paths(rows, np.array([number])))
        if is_address(path):
            return 0
        part = None if rows.parts is None else rows.parts[number]
        size, time = _state(path)
        if not time or (part is None and not 0 < size <= self.max_bytes):
            return 0
        if isinstance(part, Member) and part.size > self.max_bytes:
            return 0
        key = (path, part, size, time)
        if self._last_content is None or self._last_content[0] != key:
            self._last_content = (key, _content_digest(path, part, self.max_bytes))
        return self._last_content[1]


def _stamps_of(rows: Rows, numbers: NDArray[np.integer]) -> Stamps:
    """Return the states of the clips at `numbers`, without partners and the digests of content. Shape (clips,)."""
    stamps = np.zeros(len(numbers), STAMP)
    stamps["window"] = window_digests(rows.starts[numbers], rows.durations[numbers])
    last, state = "", (0, 0)
    for place, path in enumerate(_paths(rows, numbers)):
        if path != last:  # windows of one file, and sounds of one container, follow each other
            last, state = path, _state(path)
        stamps["size"][place], stamps["time"][place] = state
    if rows.parts is not None:
        sizes = rows.parts.sizes[numbers]
        is_part = (sizes != WHOLE_FILE) & (stamps["time"] != 0)
        stamps["size"][is_part] = np.maximum(sizes[is_part], 0)  # that of a cell is not known before it is read
    return stamps


def window_digests(starts: NDArray[np.float64], durations: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return a digest of each start and duration in seconds, never 0. NaN is the duration to the end of the file."""
    bits = np.where(np.isnan(durations), -1.0, durations).view(np.uint64)
    mixed = mixed_bits(mixed_bits((starts + 0.0).view(np.uint64)) ^ bits)  # + 0.0, since -0.0 is the same start
    return _upper_half(mixed)


def mixture_digests(rows: Rows, places: NDArray[np.integer], partners: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Return a digest of the windows of mixed clips and of the name of the partner, never 0. Shape (mixtures,).

    Args:
        rows: The clips.
        places: Place of each clip.
        partners: Place of the partner of each clip.
    """
    own, other = (window_digests(rows.starts[numbers], rows.durations[numbers]) for numbers in (places, partners))
    keys = np.fromiter(map(name_key, rows.ids.take(partners)), np.uint64, len(partners))
    return _upper_half(mixed_bits((own.astype(np.uint64) << np.uint64(32) | other) ^ mixed_bits(keys)))


def _upper_half(bits: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return 32 bits of each number, never 0."""
    return np.maximum((bits >> np.uint64(32)).astype(np.uint32), np.uint32(1))


def _paths(rows: Rows, numbers: NDArray[np.integer]) -> Iterator[str]:
    """Yield the path of the file of each clip."""
    if rows.paths is not None:
        yield from rows.paths.take(numbers)
    else:
        prefix = f"{rows.root}/"
        for clip_id in rows.ids.take(numbers):
            yield prefix + clip_id


def _state(path: str) -> tuple[int, int]:
    """Return size in bytes and time of the last change in nanoseconds; zeros if it is no file that can be read."""
    if is_address(path):
        return state_of(path)
    try:
        status = os.stat(path)
        is_readable = stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK)
        return (status.st_size, status.st_mtime_ns or 1) if is_readable else (0, 0)
    except (OSError, ValueError):
        return 0, 0


def _content_digest(path: str, part: Part | None, max_bytes: int) -> int:
    """Return the CRC-32 of a file or of a part of it, never 0. 0: it is longer than `max_bytes`, or cannot be read."""
    crc = count = 0
    try:
        with _opened(path, part) as sound:
            while block := sound.read(_READ_BYTES):
                crc, count = zlib.crc32(block, crc), count + len(block)
                if count > max_bytes:
                    return 0
    except (OSError, ValueError, AudioError):
        return 0
    return crc or 1


def _opened(path: str, part: Part | None) -> BinaryIO:
    file = open(path, "rb")  # noqa: SIM115, as the caller closes it
    return file if part is None else open_part(file, part)
