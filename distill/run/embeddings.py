"""Run an encoder over clips, into a store."""

from __future__ import annotations

import csv
import io
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from distill.data.audio.read import as_text, duration
from distill.data.batch import AudioBatch, Embeddings
from distill.data.clips.dataset import ClipDataset, Crop, input_fingerprint
from distill.data.clips.loading import loader
from distill.data.clips.manifest import Manifest, Row
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.errors import AudioError, UserError
from distill.data.files import plain, write_text
from distill.data.fingerprint import digest, weights_digest
from distill.data.sampling.orders import Draws
from distill.data.store.format import ClipFrames, SetAside, forecast_bytes
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter
from distill.frozen import Frozen
from distill.run.precision import Arithmetic
from distill.students import STUDENTS
from distill.students.saved import load_student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher

_BATCH_SECONDS = 600.0  # of whole clips, with their padding


def encoder_of(teacher: Written | Teacher | None, model: str | None, allow_import: str | None = None) -> Encoder:
    """The encoder that exactly one of the two names."""
    if (teacher is None) == (model is None):
        raise UserError("say what shall embed: either --teacher NAME or --model RUN")
    if model is not None:
        return load_student(model, allow_import)
    assert teacher is not None
    return TEACHERS.build(teacher)


def introduction(encoder: Encoder) -> str:
    """What an encoder is and where its weights came from."""
    if isinstance(encoder, Teacher):
        return describe("teacher", TEACHERS.name_of(type(encoder)), encoder)
    return describe("student", STUDENTS.name_of(type(encoder)), encoder)


def describe(role: str, name: str, encoder: Encoder) -> str:
    """What an encoder is and where its weights came from, for the terminal and the log."""
    frames = f"frame {encoder.frame_dim} every {encoder.frame_hop:.3f} s" if encoder.frame_hop else "no frames"
    line = (
        f"{role}: {name}, {encoder.parameter_count():,} parameters, {encoder.sample_rate} Hz, "
        f"clip {encoder.clip_dim}, {frames}"
    )
    if role == "teacher":
        line += f", licence: {encoder.licence}"
    return f"{line}\n  weights: {encoder.provenance}" if encoder.provenance else line


def choose_device(device: str) -> torch.device:
    """The device that "auto" means here, or the one named."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}: no CUDA device here")
    return torch.device(device)


def encoder_fingerprint(encoder: Encoder) -> dict[str, Any]:
    """What shapes an embedding on the encoder's side: class, options and weights, but not where a file lies."""
    spec = TEACHERS.spec_of(encoder)
    options = {key: value for key, value in spec.options.items() if key not in ("checkpoint", "revision")}
    fingerprint = {"encoder": spec.name, "options": options, "weights": weights_digest(encoder)}
    return fingerprint | ({"shaped_by": plain(encoder.shaped_by)} if encoder.shaped_by else {})


def identity(encoder: Encoder) -> str:
    """What two encoders share that embed alike, wherever their weights lie: a digest of class, options and weights.

    A store is the teacher that wrote it, or itself where a program of its own did; a frozen student is that student.
    """
    if isinstance(encoder, Teacher) and encoder.store is not None:
        fingerprint = encoder.store.fingerprint
        parts = {key: fingerprint[key] for key in ("encoder", "options", "weights", "shaped_by") if key in fingerprint}
        return digest(parts if "weights" in parts else encoder.store.digest)[:16]
    return digest(encoder_fingerprint(encoder.student if isinstance(encoder, Frozen) else encoder))[:16]


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
    """Embed what the store does not hold yet. The caller holds the lock on `path`.

    Raises:
        UserError: another store lies there, the crop is random, or no clip could be read.
    """
    if crop.position == "random" and crop.seconds:
        raise UserError(
            "a store holds one embedding a clip, so --crop.position cannot be random (with fit: --live true)"
        )
    if dtype not in ("float16", "float32"):
        raise UserError(f"--dtype {dtype}: float16 or float32 is wanted")
    fingerprint: dict[str, Any] = {
        **encoder_fingerprint(encoder),
        **input_fingerprint(encoder.sample_rate, crop),
        "windows": manifest.digest,
        **asdict(arithmetic),
    }
    ids = [row.id for row in manifest.rows]
    if frames and not encoder.frame_hop:
        raise UserError("the encoder embeds whole clips and has no frames to keep")
    origin: dict[str, Any] = {"licence": encoder.licence, "source": encoder.source}
    if encoder.provenance is not None:
        origin["provenance"] = asdict(encoder.provenance)
    frame_dim = encoder.frame_dim if frames else 0
    writer = StoreWriter(path, ids, encoder.clip_dim, fingerprint, dtype, frame_dim, origin=origin)
    encoder = encoder.to(choose_device(device))  # where its cost is measured too, though nothing is left to embed
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
    batches = (Draws(rows, rows) for shard in missing for rows in _batches(clips, writer.rows(shard), batch_size))
    loaded = iter(loader(clips, batches, workers))
    total = sum(len(writer.rows(shard)) for shard in missing)
    with tqdm(total=total, desc="embed", unit="clip", mininterval=0.5, dynamic_ncols=True) as bar:
        for shard in missing:
            embeddings: dict[str, np.ndarray[Any, Any]] = {}
            frames: dict[str, ClipFrames] = {}
            aside: list[SetAside] = []
            left = len(writer.rows(shard))
            while left:
                batch = next(loaded)
                aside.extend(batch.set_aside)
                if batch.batch is not None:
                    embedded = _embed_batch(encode, batch.batch, device)
                    embeddings.update(zip(batch.batch.ids, embedded.clip.numpy(), strict=True))
                    if writer.frame_dim:
                        frames.update(_clip_frames(batch.batch.ids, embedded))
                read = len(batch.set_aside) + (len(batch.batch) if batch.batch else 0)
                left -= read
                bar.update(read)
            if not embeddings:
                first = aside[0]
                raise UserError(
                    f"not one of {len(aside)} clips could be read; the first: {as_text(first.id)} "
                    f"({first.reason}: {first.detail})"
                )
            writer.write(shard, embeddings, aside, frames)


def _batches(clips: ClipDataset, rows: range, batch_size: int) -> Iterator[range]:
    """Rows in batches; fewer in one where clips are read whole and so long that padding all to the longest is much."""
    begin, longest = 0, 0.0
    for place, row in enumerate(rows):
        seconds = 0.0 if clips.crop.seconds else _seconds(clips.manifest.rows[row])
        longest = max(longest, seconds)
        if place > begin and (place - begin == batch_size or (place - begin + 1) * longest > _BATCH_SECONDS):
            yield rows[begin:place]
            begin, longest = place, seconds
    yield rows[begin:]


def _seconds(row: Row) -> float:
    """How long a clip is; 0 where that cannot be read, and decoding will say why."""
    try:
        return row.duration or duration(row.path) - row.start
    except AudioError:
        return 0.0


@torch.inference_mode()
def _embed_batch(encode: Encode, batch: AudioBatch, device: torch.device) -> Embeddings:
    """Embeddings of a batch, on the CPU; floats are float32."""
    parts = (part.cpu() for part in encode(batch.to(device)))
    return Embeddings(*(part.float() if part.is_floating_point() else part for part in parts))


def _clip_frames(ids: Iterable[str], embedded: Embeddings) -> Iterator[tuple[str, ClipFrames]]:
    """The valid frames of each clip, by its id."""
    times = embedded.frame_times.numpy()
    for clip_id, frames, mask in zip(ids, embedded.frames, embedded.frame_mask, strict=True):
        yield clip_id, ClipFrames(frames[mask].numpy(), times[mask.numpy()])


@dataclass(frozen=True)
class Rate:
    """How fast an encoder was on one batch, and what a whole data set would take."""

    clips_per_second: float
    seconds: float
    bytes: int


def forecast(encoder: Encoder, batch: AudioBatch, clips: int, frames: bool = False) -> Rate:
    """Time one batch; extrapolate to a store of so many clips, with or without frames."""
    embedded = _embed_batch(encoder, batch, encoder.device)
    begin = time.perf_counter()
    _embed_batch(encoder, batch, encoder.device)
    rate = len(batch) / (time.perf_counter() - begin)
    numbers = embedded.clip.numel() + (embedded.frames.numel() if frames else 0)
    return Rate(rate, clips / rate, forecast_bytes(clips, numbers // len(batch)))


def report_set_aside(clips: Iterable[SetAside], manifest: Manifest, path: Path) -> None:
    """Print how many clips could not be used, and list them in a CSV file; nothing where all could."""
    paths = {row.id: row.path for row in manifest.rows}
    clips = list(clips)
    if not clips:
        return
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["id", "path", "reason", "detail"])
    rows.writerows([as_text(c.id), as_text(paths.get(c.id, c.id)), c.reason, as_text(c.detail)] for c in clips)
    write_text(path, text.getvalue())
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(clip.reason for clip in clips).most_common())
    print(f"{len(clips)} of {len(manifest)} clips could not be used ({reasons}); they are listed in {path}")
