"""Embedding of clips by an encoder, into a store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from distill.data.audio.read import as_text
from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.dataset import ClipDataset, Crop, input_fingerprint, row_seconds
from distill.data.clips.loading import loader
from distill.data.clips.manifest import Manifest
from distill.data.encoders.encoder import Encoder
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws
from distill.data.store.format import ClipFrames, SetAside, forecast_bytes
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.run.encoders import choose_device
from distill.run.identity import encoder_fingerprint
from distill.run.long_clips import long_clips_fingerprint
from distill.run.precision import Arithmetic

_BATCH_SECONDS = 600.0  # limit of a batch of whole clips, padding included


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
) -> EmbeddingStore:
    """Embed the clips that a store does not hold yet. The caller must hold the lock on `path`.

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

    Returns:
        The complete store.

    Raises:
        UserError: `path` holds another store, the crop is random, or no clip could be read.
    """
    if crop.position == "random" and crop.seconds:
        raise UserError(
            "a store holds one embedding per clip, so --crop.position must not be random (fit: use --live true)"
        )
    if dtype not in ("float16", "float32"):
        raise UserError(f"--dtype {dtype}: must be float16 or float32")
    fingerprint: dict[str, Any] = {
        **encoder_fingerprint(encoder),
        **input_fingerprint(encoder.sample_rate, crop),
        "windows": manifest.digest,
        **(asdict(arithmetic) | long_clips_fingerprint(encoder, crop, manifest, path)),
    }
    ids = list(manifest.ids)
    if frames and not encoder.frame_hop:
        raise UserError("the encoder embeds whole clips and has no frames to store")
    origin: dict[str, Any] = {"licence": encoder.licence, "source": encoder.source}
    if encoder.provenance is not None:
        origin["provenance"] = asdict(encoder.provenance)
    frame_dim = encoder.frame_dim if frames else 0
    writer = StoreWriter(path, ids, encoder.clip_dim, fingerprint, dtype, frame_dim, origin=origin)
    encoder = encoder.to(choose_device(device))  # also if nothing is left to embed: its cost is measured there
    if missing := writer.missing_shards():
        if workers < 0:
            workers = 0 if encoder.device.type == "cpu" else min(8, os.cpu_count() or 1)
        clips = ClipDataset(manifest, encoder.sample_rate, crop)
        encoder.eval()
        _embed_shards(arithmetic.apply(encoder), encoder.device, clips, writer, missing, batch_size, workers)
    return EmbeddingStore(path)


Encode = Callable[[AudioBatch], Embeddings]


def _embed_shards(
    encode: Encode,
    device: torch.device,
    clips: ClipDataset,
    writer: StoreWriter,
    missing: list[int],
    batch_size: int,
    workers: int,
) -> None:
    """Embed the missing shards of a store, one after another."""
    batches = (Draws(rows, rows) for shard in missing for rows in _batches(clips, writer.rows(shard), batch_size))
    loaded = iter(loader(clips, batches, workers))
    total = sum(len(writer.rows(shard)) for shard in missing)
    with tqdm(total=total, desc="embed", unit="clip", mininterval=0.5, dynamic_ncols=True) as bar:
        for shard in missing:
            embeddings: dict[str, np.ndarray[Any, Any]] = {}
            frames: dict[str, ClipFrames] = {}
            set_aside: list[SetAside] = []
            unread = len(writer.rows(shard))
            while unread:
                batch = next(loaded)
                set_aside.extend(batch.set_aside)
                if batch.batch is not None:
                    embedded = _embed_batch(encode, batch.batch, device)
                    finite = embedded.clip.isfinite().all(1).tolist()
                    usable = [clip_id for clip_id, is_finite in zip(batch.batch.ids, finite, strict=True) if is_finite]
                    embeddings.update(zip(usable, embedded.clip[finite].numpy(), strict=True))
                    set_aside.extend(_not_finite(batch.batch.ids, finite))
                    if writer.frame_dim:
                        frames.update(pair for pair in _clip_frames(batch.batch.ids, embedded) if pair[0] in embeddings)
                read = len(batch.set_aside) + (len(batch.batch) if batch.batch else 0)
                unread -= read
                bar.update(read)
            if not embeddings:
                first = set_aside[0]
                raise UserError(
                    f"none of {len(set_aside)} clips could be embedded; the first: {as_text(first.id)} "
                    f"({first.reason}: {first.detail})"
                )
            writer.write(shard, embeddings, set_aside, frames)


def _not_finite(ids: Sequence[str], finite: Sequence[bool]) -> Iterator[SetAside]:
    """Yield the clips whose embedding is not finite, as set aside."""
    for clip_id, is_finite in zip(ids, finite, strict=True):
        if not is_finite:
            yield SetAside(clip_id, "not_finite", "the encoder gives NaN or infinite values")


def _batches(clips: ClipDataset, rows: range, batch_size: int) -> Iterator[range]:
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
    tensors = (tensor.cpu() for tensor in encode(batch.to(device)))
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
