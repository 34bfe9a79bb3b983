"""Embedding of clips by an encoder, into a store."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from tqdm import tqdm

from distill.data.audio.read import as_text
from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.dataset import ClipDataset, Crop, Seconds, input_fingerprint, row_seconds
from distill.data.clips.loading import loader
from distill.data.clips.manifest import Manifest
from distill.data.clips.stamps import FileStates, StampedBatch, StampedClips
from distill.data.encoders.encoder import Encoder
from distill.data.errors import AudioError, UserError
from distill.data.sampling.batches import Draws
from distill.data.store.format import REMOVED, ClipFrames, SetAside, forecast_bytes
from distill.data.store.reader import EmbeddingStore
from distill.data.store.shard import EMBEDDED, Shard
from distill.data.store.stamps import STAMP
from distill.data.store.writer import StoreWriter
from distill.run.encoders import choose_device
from distill.run.identity import encoder_fingerprint, require_known_weights
from distill.run.long_clips import long_clips_fingerprint
from distill.run.precision import Arithmetic, Prepared
from distill.run.recordings import cut_line, embed_recording, longest_at_once
from distill.run.resuming import Stopped
from distill.run.updates import Update, find_update, refuse_other_windows
from distill.training.stopping import StopSignals

_BATCH_SECONDS = 600.0  # limit of a batch of whole clips, padding included
_KEEP_SECONDS = 30.0  # after kill -9, work of this time and of one batch is lost


@dataclass(frozen=True)
class Upkeep:
    """How a store is continued and brought up to date.

    Args:
        drop: Whether the store drops clips that are not in the manifest. A store without any clip of it is refused.
        shaped_by: JSON values that determine the rows beside the arguments of `fill_store`, for the fingerprint.
        continuation: How the user continues after a signal, for the message.
        on_sound: Function that gets the sound of the clips that were embedded now.
        clock: Function that returns the time in seconds.
    """

    drop: bool = False
    shaped_by: Mapping[str, Any] = field(default_factory=dict)
    continuation: str = "run the same command again to continue"
    on_sound: Callable[[Seconds], None] = lambda seconds: None
    clock: Callable[[], float] = time.monotonic


def fill_store(
    encoder: Encoder,
    manifest: Manifest,
    path: Path,
    crop: Crop,
    batch_size: int = 16,
    dtype: str = "float16",
    workers: int = -1,
    device: str = "auto",
    arithmetic: Arithmetic = Arithmetic(),
    frames: bool = False,
    upkeep: Upkeep = Upkeep(),
) -> EmbeddingStore:
    """Embed the clips that a store does not hold yet, and those whose files changed.

    Embeddings are kept at least every half minute, on SIGTERM and on Ctrl-C. A store that was continued is equal to one
    that was never stopped. The caller must hold the lock on `path`.

    Args:
        encoder: Encoder of the clips.
        manifest: Clips to embed.
        path: Folder of the store.
        crop: Part of each clip that is embedded. It must not be random.
        batch_size: Clips per batch, at most.
        dtype: Data type of the stored embeddings: "float16" or "float32".
        workers: Processes that decode audio. 0 decodes in this process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        arithmetic: Precision of the encoder, and whether it is compiled.
        frames: Whether the embeddings of frames are stored too.
        upkeep: How the store is continued and brought up to date.

    Returns:
        The complete store.

    Raises:
        UserError: `path` holds another store, the crop is random, nothing identifies the weights, or no clip could be
            read.
        Stopped: a signal ended the work. What is done is in the store.
    """
    _check(encoder, crop, dtype, frames)
    refuse_other_windows(path, manifest)
    fingerprint = {**_fingerprint(encoder, manifest, path, crop, arithmetic), **upkeep.shaped_by}
    frame_dim, origin = encoder.frame_dim if frames else 0, _origin(encoder)
    writer = StoreWriter(path, manifest.ids, encoder.clip_dim, fingerprint, dtype, frame_dim, 0, origin, upkeep.drop)
    update = find_update(writer, FileStates(manifest, crop), upkeep.drop)
    if writer.planned_before is not None:
        print("\n".join(update.lines()))
    encoder = encoder.to(choose_device(device))  # also if nothing is left to embed: its cost is measured there
    if update.shards:
        if workers < 0:
            workers = 0 if encoder.device.type == "cpu" else min(8, os.cpu_count() or 1)
        clips = StampedClips(manifest, encoder.sample_rate, crop, longest_at_once(encoder))
        encoder.eval()
        filling = _Filling(arithmetic.apply(encoder), encoder.device, writer, clips, batch_size, upkeep.clock)
        filling.run(update, workers, upkeep.continuation)
        upkeep.on_sound(filling.seconds)
        if line := cut_line(encoder, filling.long):
            print(line)
    return EmbeddingStore(path)


def _check(encoder: Encoder, crop: Crop, dtype: str, frames: bool) -> None:
    """Raise UserError for arguments of `fill_store` that do not fit each other."""
    if crop.position == "random" and crop.seconds:
        raise UserError(
            "a store holds one embedding per clip, so --crop.position must not be random (fit: use --live true)"
        )
    if dtype not in ("float16", "float32"):
        raise UserError(f"--dtype {dtype}: must be float16 or float32")
    if frames and not encoder.frame_hop:
        raise UserError("the encoder embeds whole clips and has no frames to store")


def _fingerprint(
    encoder: Encoder, manifest: Manifest, path: Path, crop: Crop, arithmetic: Arithmetic
) -> dict[str, Any]:
    """Return what determines an embedding. Raises UserError if nothing identifies the weights."""
    identified = encoder_fingerprint(encoder)
    require_known_weights(encoder, identified)
    return {
        **identified,
        **input_fingerprint(encoder.sample_rate, crop),
        **asdict(arithmetic),
        **long_clips_fingerprint(encoder, crop, manifest, path),
    }


def _origin(encoder: Encoder) -> dict[str, Any]:
    """Return the licence and the source of an encoder's weights."""
    origin: dict[str, Any] = {"licence": encoder.licence, "source": encoder.source}
    return origin if encoder.provenance is None else origin | {"provenance": asdict(encoder.provenance)}


Encode = Callable[[AudioBatch], Embeddings]


class _Filling:
    """The embedding of the missing rows of a store, one shard after another.

    Args:
        encode: Encoder with its arithmetic.
        device: Device of the encoder.
        writer: Writer of the store.
        clips: Clips of the data.
        batch_size: Clips per batch, at most.
        clock: Function that returns the time in seconds.

    Attributes:
        seconds: Sound of the clips that were embedded.
        long: Number of the clips that were embedded piece by piece.
    """

    def __init__(
        self,
        encode: Prepared,
        device: torch.device,
        writer: StoreWriter,
        clips: StampedClips,
        batch_size: int,
        clock: Callable[[], float],
    ) -> None:
        self.encode, self.device, self.writer, self.clips = encode, device, writer, clips
        self.batch_size, self.clock = batch_size, clock
        self.seconds, self.long = Seconds(), 0
        self._kept_at = clock()
        self._check_signals: Callable[[], None] = lambda: None

    def run(self, update: Update, workers: int, continuation: str) -> None:
        """Embed what an update names.

        Raises:
            UserError: no clip of the store could be embedded.
            Stopped: a signal ended the work.
        """
        draws = (Draws(rows, rows) for number in update.shards for rows in self._batches(number, update))
        loaded = iter(loader(self.clips, draws, workers))
        total, has_embeddings = sum(len(shard.embed) for shard in update.shards.values()), update.embedded
        with (
            StopSignals("saving the embeddings") as signals,
            tqdm(total=total, desc="embed", unit="clip", mininterval=0.5, dynamic_ncols=True, disable=not total) as bar,
        ):

            def check() -> None:
                if signals.stopped_by:
                    message = f"stopped after {bar.n:,} of {total:,} clips, which are kept; {continuation}"
                    raise Stopped(message, signals.stopped_by)

            self._check_signals = check
            for number, rows in update.shards.items():
                shard = self.writer.open(number)
                shard.forget(rows.embed.tolist())
                shard.remove(rows.remove.tolist())
                try:
                    self._fill(shard, loaded, len(rows.embed), bar)
                except BaseException:  # such as a full memory of the GPU
                    with suppress(OSError):
                        self.writer.keep(shard)
                    raise
                has_embeddings |= bool((shard.states == EMBEDDED).any())
                if not has_embeddings:
                    raise _nothing_embedded(shard)
                self.writer.finish(shard)
                self._kept_at = self.clock()
                check()

    def _fill(self, shard: Shard, loaded: Iterator[StampedBatch], unread: int, bar: tqdm[NoReturn]) -> None:
        """Embed the missing rows of a shard. Raises Stopped after a signal."""
        while unread:
            batch = next(loaded)
            self._add(shard, batch)
            unread -= len(batch.ids)
            bar.update(len(batch.ids))
            if unread:
                self._keep_if_due(shard)
            self._check_signals()

    def _keep_if_due(self, shard: Shard) -> None:
        """Write the new rows of a shard to its journal if the last time is half a minute ago."""
        if self.clock() - self._kept_at >= _KEEP_SECONDS:
            self.writer.keep(shard)
            self._kept_at = self.clock()

    def _add(self, shard: Shard, batch: StampedBatch) -> None:
        """Add the rows of a batch to its shard."""
        stamps = dict(zip(batch.ids, batch.stamps, strict=True))
        for clip in batch.set_aside:
            shard.put_aside(clip, stamps[clip.id])
        if batch.batch is not None:
            self._add_embedded(shard, batch.batch.ids, _embed_batch(self.encode, batch.batch, self.device), stamps)
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
                self._add_embedded(shard, (row.id,), _on_cpu(embedded), stamps)
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
            yield from _batches(self.clips, self.writer.places[missing].tolist(), self.batch_size)


def _nothing_embedded(shard: Shard) -> UserError:
    """Return the error of a store whose first clips could not be embedded."""
    clips = [clip for clip in shard.set_aside if clip.reason != REMOVED]
    first = f"; the first: {as_text(clips[0].id)} ({clips[0].reason}: {clips[0].detail})" if clips else ""
    return UserError(f"none of {len(clips)} clips could be embedded{first}")


def _not_finite(ids: Sequence[str], finite: Sequence[bool]) -> Iterator[SetAside]:
    """Yield the clips whose embedding is not finite, as set aside."""
    for clip_id, is_finite in zip(ids, finite, strict=True):
        if not is_finite:
            yield SetAside(clip_id, "not_finite", "the encoder gives NaN or infinite values")


def _batches(clips: ClipDataset, rows: Sequence[int], batch_size: int) -> Iterator[Sequence[int]]:
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
def _embed_batch(encode: Encode, batch: AudioBatch, device: torch.device) -> Embeddings:
    """Return the embeddings of a batch on the CPU, floating-point tensors as float32."""
    return _on_cpu(encode(batch.to(device)))


def _on_cpu(embedded: Embeddings) -> Embeddings:
    tensors = (tensor.cpu() for tensor in embedded)
    return Embeddings(*(tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors))


def _clip_frames(ids: Iterable[str], embedded: Embeddings) -> Iterator[tuple[str, ClipFrames]]:
    """Yield the id and the valid frames of each clip."""
    times = embedded.frame_times.numpy()
    for clip_id, frames, mask in zip(ids, embedded.frames, embedded.frame_mask, strict=True):
        yield clip_id, ClipFrames(frames[mask].numpy(), times[mask.numpy()])


@dataclass(frozen=True)
class Rate:
    """The measured speed of an encoder on one batch, and the estimated cost of a whole data set.

    Args:
        clips_per_second: Measured speed.
        seconds: Estimated time for all clips.
        bytes: Estimated size of the store of all clips.
    """

    clips_per_second: float
    seconds: float
    bytes: int


def forecast(encoder: Encoder, batch: AudioBatch, clips: int, frames: bool = False) -> Rate:
    """Measure the time of one batch and extrapolate it to a store.

    Args:
        encoder: Encoder to measure, on its device.
        batch: Clips to embed. They are embedded twice, and the second time counts.
        clips: Number of clips in the store.
        frames: Whether the store holds the embeddings of frames too.
    """
    embedded = _embed_batch(encoder, batch, encoder.device)
    begin = time.perf_counter()
    _embed_batch(encoder, batch, encoder.device)
    rate = len(batch) / (time.perf_counter() - begin)
    values = embedded.clip.numel() + (embedded.frames.numel() if frames else 0)
    return Rate(rate, clips / rate, forecast_bytes(clips, values // len(batch)))
