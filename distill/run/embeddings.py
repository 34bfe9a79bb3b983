"""Embedding of clips by an encoder, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import Crop, Seconds, input_fingerprint
from distill.data.clips.manifest import Manifest
from distill.data.clips.stamps import FileStates, StampedClips
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.data.store.format import SetAside, forecast_bytes
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.run.encoders import choose_device
from distill.run.filling import Filling, embed_batch, nothing_embedded
from distill.run.identity import encoder_fingerprint, require_known_weights
from distill.run.long_clips import long_clips_fingerprint
from distill.run.precision import Arithmetic
from distill.run.recordings import cut_line, longest_at_once
from distill.run.resuming import Stopped
from distill.run.shares import ALL, Share, planning
from distill.run.transfer import CLIP, FRAMES
from distill.run.updates import Update, find_update, refuse_other_windows
from distill.training.world import World


@dataclass(frozen=True)
class Upkeep:
    """How a store is continued and brought up to date.

    Args:
        drop: Whether the store drops clips that are not in the manifest. A store without any clip of it is refused.
        shaped_by: JSON values that determine the rows beside the arguments of `fill_store`, for the fingerprint.
        continuation: How the user continues after a signal, for the message.
        on_sound: Function that gets the sound of the clips that were embedded now.
        clock: Function that returns the time in seconds.
        share: Part of the shards that is embedded. The store is complete after all parts.
        world: Processes that share the work. All call `fill_store`. Each embeds its shards.
    """

    drop: bool = False
    shaped_by: Mapping[str, Any] = field(default_factory=dict)
    continuation: str = "run the same command again to continue"
    on_sound: Callable[[Seconds], None] = lambda seconds: None
    clock: Callable[[], float] = time.monotonic
    share: Share = ALL
    world: World = field(default_factory=World)


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
    that was never stopped. The caller must hold `lock_share` on `path`.

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
        The store. It is complete unless `upkeep` names a part.

    Raises:
        UserError: `path` holds another store, an argument is wrong, or no clip could be read.
        Stopped: a signal ended the work. What is done is in the store.
    """

    def writer() -> StoreWriter:
        _check(encoder, crop, dtype, frames)
        refuse_other_windows(path, manifest)
        described = {**_fingerprint(encoder, manifest, path, crop, arithmetic), **upkeep.shaped_by}
        frame_dim = encoder.frame_dim if frames else 0
        with planning(path, upkeep.share):
            return StoreWriter(
                path, manifest.ids, encoder.clip_dim, described, dtype, frame_dim, 0, _origin(encoder), upkeep.drop,
                upkeep.share.is_part,
            )  # fmt: skip

    opened = upkeep.world.first_then_each(writer)
    upkeep.world.barrier()  # from now on, the first may change what the others have read
    update, embedded = _compared(opened, FileStates(manifest, crop), upkeep)
    encoder = encoder.to(choose_device(device)).eval()  # also if nothing is left to embed: its cost is measured there
    clips = StampedClips(manifest, encoder.sample_rate, crop, longest_at_once(encoder))
    encode = (arithmetic if update.shards else Arithmetic()).apply(encoder)
    filling = Filling(encode, encoder.device, opened, clips, batch_size, embedded, upkeep.clock)
    if line := cut_line(encoder, _fill(filling, update, workers, upkeep)):
        print(line)
    return EmbeddingStore(path, partial=upkeep.share.is_part)


def _compared(writer: StoreWriter, states: FileStates, upkeep: Upkeep) -> tuple[Update, bool]:
    """Compare the shards of this process with the data. Print what all processes have found.

    Returns:
        What is to be done here, and whether an embedding of any process stays.
    """
    shards = upkeep.share.among(upkeep.world).shards(writer.shard_count)
    update = find_update(writer, states, upkeep.drop, shards)
    whole = Update.joined(upkeep.world.gather(replace(update, shards={})))
    if writer.planned_before is not None:
        print("\n".join(whole.lines()))
    return update, whole.embedded


class _End(NamedTuple):
    """How the work of a process has ended.

    Args:
        done: Number of clips that were embedded or set aside.
        total: Number of clips that were to be embedded.
        seconds: Sound of the clips that were embedded.
        long: Number of the clips that were embedded piece by piece.
        embedded: Whether the store has an embedding.
        unusable: Clips of the shards without any embedding. None: there is no such shard.
        stopped_by: Number of the signal that ended the work. None: there was none.
    """

    done: int
    total: int
    seconds: Seconds
    long: int
    embedded: bool
    unusable: list[SetAside] | None
    stopped_by: int | None


def _fill(filling: Filling, update: Update, workers: int, upkeep: Upkeep) -> int:
    """Embed what an update names, and wait for the other processes.

    Returns:
        The number of clips that were embedded piece by piece, by all processes.

    Raises:
        UserError: no clip of the store could be embedded.
        Stopped: a signal ended the work of a process.
    """
    world, stopped = upkeep.world, None
    if update.shards:
        try:
            filling.run(update, loader_workers(workers, filling.device), "embed" if world.is_first else "")
        except Stopped as error:
            stopped = error.signal_number
    aside = [clip for shard in filling.unusable for clip in shard.set_aside] if filling.unusable else None
    end = _End(filling.done, update.to_embed, filling.seconds, filling.long, filling.embedded, aside, stopped)
    ends = world.gather(end)
    if number := next((end.stopped_by for end in ends if end.stopped_by), None):
        done, total = sum(end.done for end in ends), sum(end.total for end in ends)
        message = f"stopped after {done:,} of {total:,} clips, which are kept; {upkeep.continuation}"
        raise world.shared(Stopped(message, number))
    tried = [end.unusable for end in ends if end.unusable is not None]
    if tried and not upkeep.share.is_part and not any(end.embedded for end in ends):
        raise world.shared(nothing_embedded([clip for clips in tried for clip in clips]))
    filling.finish()
    world.barrier()
    upkeep.on_sound(Seconds(*map(sum, zip(*(end.seconds for end in ends), strict=True))))
    return sum(end.long for end in ends)


def loader_workers(workers: int, device: torch.device) -> int:
    """Return the number of processes that decode audio. -1 becomes 0 on a CPU, and up to 8 with a GPU."""
    if workers >= 0:
        return workers
    return 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)


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
    fields = FRAMES if frames else CLIP
    embedded = embed_batch(encoder, batch, encoder.device, fields).get()
    begin = time.perf_counter()
    embed_batch(encoder, batch, encoder.device, fields).get()
    rate = len(batch) / (time.perf_counter() - begin)
    values = embedded.clip.numel() + (embedded.frames.numel() if frames else 0)
    return Rate(rate, clips / rate, forecast_bytes(clips, values // len(batch)))
