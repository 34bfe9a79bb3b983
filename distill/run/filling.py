"""The embedding of the missing rows of a store, by one process."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import numpy as np
import torch
from tqdm import tqdm

from distill.data.audio.read import as_text
from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.dataset import ClipDataset, Seconds, row_seconds
from distill.data.clips.loading import loader
from distill.data.clips.stamps import StampedBatch, StampedClips
from distill.data.errors import AudioError, UserError
from distill.data.sampling.batches import Draws
from distill.data.store.format import REMOVED, ClipFrames, SetAside
from distill.data.store.shard import EMBEDDED, Shard
from distill.data.store.stamps import STAMP
from distill.data.store.writer import StoreWriter
from distill.run.precision import Prepared
from distill.run.recordings import embed_recording
from distill.run.resuming import Stopped
from distill.run.transfer import CLIP, FRAMES, Transfer
from distill.run.updates import Update
from distill.training.stopping import StopSignals

_BATCH_SECONDS = 600.0  # limit of a batch of whole clips, padding included
_KEEP_SECONDS = 30.0  # after kill -9, work of this time and of one batch is lost
_MAX_UNUSABLE = 4096  # clips; if the first ones cannot be embedded, none of the others is tried

Encode = Callable[[AudioBatch], Embeddings]


class Filling:
    """The embedding of the missing rows of a store, one shard after another.

    Args:
        encode: Encoder with its arithmetic.
        device: Device of the encoder.
        writer: Writer of the store.
        clips: Clips of the data.
        batch_size: Clips per batch, at most.
        embedded: Whether the store has an embedding already.
        clock: Function that returns the time in seconds.

    Attributes:
        embedded: Whether the store has an embedding, as far as this process knows.
        done: Number of the clips that are kept.
        seconds: Sound of the clips that were embedded.
        long: Number of the clips that were embedded piece by piece.
        fields: Names of the embeddings that are stored.
        unusable: Complete shards, without any embedding, that are not finished yet. They are tried again if no clip of
            the store can be embedded.
    """

    def __init__(
        self,
        encode: Prepared,
        device: torch.device,
        writer: StoreWriter,
        clips: StampedClips,
        batch_size: int,
        embedded: bool,
        clock: Callable[[], float],
    ) -> None:
        self.encode, self.device, self.writer, self.clips = encode, device, writer, clips
        self.batch_size, self.clock = batch_size, clock
        self.fields = FRAMES if writer.frame_dim else CLIP
        self.embedded, self.done, self.seconds, self.long = embedded, 0, Seconds(), 0
        self.unusable: list[Shard] = []
        self._kept_at = clock()
        self._check_signals: Callable[[], None] = lambda: None

    def run(self, update: Update, workers: int, task: str = "embed") -> None:
        """Embed what an update names.

        Args:
            update: Rows to embed and to remove.
            workers: Processes that decode audio.
            task: Name of the bar. Empty: there is none.

        Raises:
            UserError: the first clips could not be embedded.
            Stopped: a signal ended the work.
        """
        draws = (Draws(rows, rows) for number in update.shards for rows in self._batches(number, update))
        loaded = iter(loader(self.clips, draws, workers, pinned=self.device.type == "cuda"))
        total, hidden = update.to_embed, not task or not update.to_embed
        with (
            StopSignals("saving the embeddings", prints=bool(task)) as signals,
            tqdm(total=total, desc=task, unit="clip", mininterval=0.5, dynamic_ncols=True, disable=hidden) as bar,
        ):

            def check() -> None:
                if signals.stopped_by:
                    raise Stopped("stopped", signals.stopped_by)

            self._check_signals = check
            for number, rows in update.shards.items():
                shard = self.writer.open(number)
                self.unusable.append(shard)
                shard.forget(rows.embed.tolist())
                shard.remove(rows.remove.tolist())
                try:
                    self._fill(shard, loaded, len(rows.embed), bar)
                except BaseException:  # such as a full memory of the GPU
                    with suppress(OSError):
                        for unfinished in self.unusable:
                            self.writer.keep(unfinished)
                    raise
                self.embedded |= bool((shard.states == EMBEDDED).any())
                if self.embedded:
                    self.finish()
                elif sum(len(tried.ids) for tried in self.unusable) >= _MAX_UNUSABLE:
                    raise nothing_embedded([clip for tried in self.unusable for clip in tried.set_aside])
                check()

    def finish(self) -> None:
        """Finish the shards that are complete."""
        for shard in self.unusable:
            self.writer.finish(shard)
            self._kept_at = self.clock()
        self.unusable.clear()

    def _fill(self, shard: Shard, loaded: Iterator[StampedBatch], unread: int, bar: tqdm[NoReturn]) -> None:
        """Embed the missing rows of a shard. Raises Stopped after a signal."""
        for batch, embedded in self._embedded(loaded, unread):
            self._add(shard, batch, embedded)
            unread -= len(batch.ids)
            self.done += len(batch.ids)
            bar.update(len(batch.ids))
            if unread:
                self._keep_if_due(shard)
            self._check_signals()

    def _embedded(self, loaded: Iterator[StampedBatch], unread: int) -> Iterator[tuple[StampedBatch, Transfer | None]]:
        """Yield batches of `unread` clips with their embeddings; None for a batch without usable clips.

        On a GPU, the next batch is launched before one is yielded, so that the GPU works while the CPU stores.
        """
        launched: deque[tuple[StampedBatch, Transfer | None]] = deque()
        ahead = 0 if self.device.type == "cpu" else 1
        while unread or launched:
            if unread:
                batch = next(loaded)
                unread -= len(batch.ids)
                usable = batch.batch
                found = None if usable is None else embed_batch(self.encode, usable, self.device, self.fields)
                launched.append((batch, found))
            if not unread or len(launched) > ahead:
                yield launched.popleft()

    def _keep_if_due(self, shard: Shard) -> None:
        """Write the new rows of a shard to its journal if the last time is half a minute ago."""
        if self.clock() - self._kept_at >= _KEEP_SECONDS:
            self.writer.keep(shard)
            self._kept_at = self.clock()

    def _add(self, shard: Shard, batch: StampedBatch, embedded_clips: Transfer | None) -> None:
        """Add the rows of a batch to its shard."""
        stamps = dict(zip(batch.ids, batch.stamps, strict=True))
        for clip in batch.set_aside:
            shard.put_aside(clip, stamps[clip.id])
        if batch.batch is not None and embedded_clips is not None:
            self._add_embedded(shard, batch.batch.ids, embedded_clips.get(), stamps)
            self.seconds = self.seconds.plus(batch.seconds)

        def between_pieces() -> None:
            self._keep_if_due(shard)  # a recording may take longer than half a minute
            self._check_signals()

        for row in (self.clips.manifest.rows[number] for number in batch.long):
            span = replace(self.clips.span(row), longest_seconds=math.inf)
            try:
                embedded = embed_recording(self.encode, row, span, bool(self.writer.frame_dim), between_pieces)
            except AudioError as error:
                shard.put_aside(SetAside(row.id, error.reason, error.detail), stamps[row.id])
            else:
                self._add_embedded(shard, (row.id,), Transfer(embedded, self.fields).get(), stamps)
                self.seconds, self.long = self.seconds.plus(span.measured[-1]), self.long + 1

    def _add_embedded(
        self, shard: Shard, ids: Sequence[str], embedded: Embeddings, stamps: Mapping[str, np.void]
    ) -> None:
        """Add the embeddings of clips to their shard."""
        finite = embedded.clip.isfinite().all(1).tolist()
        for clip in _not_finite(ids, finite):
            shard.put_aside(clip, stamps[clip.id])
        usable = [clip_id for clip_id, is_finite in zip(ids, finite, strict=True) if is_finite]
        frames = dict(_clip_frames(ids, embedded)) if self.writer.frame_dim else None
        states = np.array([stamps[clip_id] for clip_id in usable], STAMP)
        shard.add(usable, embedded.clip[finite].numpy(), frames, states)

    def _batches(self, number: int, update: Update) -> Iterator[Sequence[int]]:
        """Yield the clips of the data that a shard misses, in batches.

        The journal holds the first batches. So a continued shard has the batches of one that was not stopped.
        """
        missing = self.writer.rows(number).start + update.shards[number].embed
        if len(missing):
            yield from batches_of(self.clips, self.writer.places[missing].tolist(), self.batch_size)


def nothing_embedded(set_aside: Sequence[SetAside]) -> UserError:
    """Return the error of a store whose first clips could not be embedded."""
    clips = [clip for clip in set_aside if clip.reason != REMOVED]
    first = f"; the first: {as_text(clips[0].id)} ({clips[0].reason}: {clips[0].detail})" if clips else ""
    return UserError(f"none of {len(clips)} clips could be embedded{first}")


def _not_finite(ids: Sequence[str], finite: Sequence[bool]) -> Iterator[SetAside]:
    """Yield the clips whose embedding is not finite, as set aside."""
    for clip_id, is_finite in zip(ids, finite, strict=True):
        if not is_finite:
            yield SetAside(clip_id, "not_finite", "the encoder gives NaN or infinite values")


def batches_of(clips: ClipDataset, rows: Sequence[int], batch_size: int) -> Iterator[Sequence[int]]:
    """Yield the rows in batches of at most `batch_size`.

    A batch of whole clips is smaller if its padded clips would last longer than `_BATCH_SECONDS` together.
    """
    begin, longest = 0, 0.0
    for place, row in enumerate(rows):
        seconds = 0.0 if clips.crop.seconds else row_seconds(clips.manifest.rows[row])
        longest = max(longest, seconds)
        if place > begin and (place - begin == batch_size or (place - begin + 1) * longest > _BATCH_SECONDS):
            yield rows[begin:place]
            begin, longest = place, seconds
    yield rows[begin:]


@torch.inference_mode()
def embed_batch(encode: Encode, batch: AudioBatch, device: torch.device, fields: Collection[str]) -> Transfer:
    """Embed a batch, and begin to copy the named fields of its embeddings to the CPU."""
    return Transfer(encode(batch.to(device, non_blocking=device.type == "cuda")), fields)


def _clip_frames(ids: Iterable[str], embedded: Embeddings) -> Iterator[tuple[str, ClipFrames]]:
    """Yield the id and the valid frames of each clip."""
    times = embedded.frame_times.numpy()
    for clip_id, frames, mask in zip(ids, embedded.frames, embedded.frame_mask, strict=True):
        yield clip_id, ClipFrames(frames[mask].numpy(), times[mask.numpy()])
