"""Batches of the clips of a manifest: decoded, cropped and resampled."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from distill.data.audio.read import CHANNEL_POLICY, Span, duration, read
from distill.data.audio.resample import RESAMPLER
from distill.data.batch import AudioBatch, Clip, collate
from distill.data.clips.decoding import Decoded, decode_all
from distill.data.clips.labels import multi_hot
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.views import ClipViews, Views
from distill.data.errors import AudioError
from distill.data.sampling.batches import Draws
from distill.data.store.format import SetAside

CROPS = ("start", "centre", "random")
_TOO_LONG = "too_long"


@dataclass(frozen=True)
class Crop:
    """Settings of the crop: the part of each clip that is used.

    Args:
        seconds: Length of the crop, in seconds. 0 uses whole clips.
        position: "start", "centre", or "random", which changes in each epoch.
    """

    seconds: float = 10.0
    position: str = "centre"

    def __post_init__(self) -> None:
        if self.position not in CROPS:
            raise ValueError(f"crop.position {self.position!r}: must be one of {', '.join(CROPS)}")
        if not self.seconds >= 0:
            raise ValueError(f"crop.seconds {self.seconds}: must be at least 0")


class Seconds(NamedTuple):
    """The sound of clips, in seconds.

    Args:
        used: What the crop leaves.
        available: What the clips have.
    """

    used: float = 0.0
    available: float = 0.0

    def plus(self, other: Seconds) -> Seconds:
        """Return the sum of both."""
        return Seconds(self.used + other.used, self.available + other.available)


@dataclass(frozen=True)
class Loaded:
    """A loaded batch.

    Args:
        batch: The usable clips. None if there are none.
        set_aside: The clips that cannot be used.
        long: Rows of the clips that are too long to be decoded at once.
        seconds: Sound of the usable clips.
    """

    batch: AudioBatch | None
    set_aside: tuple[SetAside, ...]
    long: tuple[int, ...] = field(default=(), kw_only=True)
    seconds: Seconds = field(default=Seconds(), kw_only=True)

    def pin_memory(self) -> Self:
        """Return the same batch in page-locked memory. The loader calls this."""
        return self if self.batch is None else replace(self, batch=self.batch.pin_memory())


@dataclass(frozen=True, kw_only=True)
class ClipSpan(Span):
    """A span that measures its clip when the header is read, so that no file is opened twice.

    Args:
        longest_seconds: Longest part that is decoded at once.
        measured: The sound of the clip, added by `in_samples`.
    """

    longest_seconds: float = math.inf
    measured: list[Seconds] = field(default_factory=list)

    def in_samples(self, sample_rate: int, total: int) -> tuple[int, int]:
        """Return the first sample and the number of samples. Raises AudioError, also for a part that is too long."""
        first, samples = super().in_samples(sample_rate, total)
        whole = Span(start=self.start, duration=self.duration).in_samples(sample_rate, total)[1]
        self.measured.append(Seconds(samples / sample_rate, whole / sample_rate))
        if samples > self.longest_seconds * sample_rate:
            raise AudioError(_TOO_LONG, f"{samples / sample_rate:.0f} s")
        return first, samples


class ClipDataset(Dataset[Loaded]):
    """The clips of a manifest as a torch data set, for a loader with a sampler of `Draws`.

    A random crop and the number of a view are functions of the seed and the draw, so a resumed run gets the same.

    Args:
        manifest: The clips.
        sample_rate: Rate of the batches, in Hz. Every clip is resampled once, from the rate of its file.
        crop: Part of each clip that is used.
        classes: Names of the classes, in the order of the labels. Empty means no labels.
        seed: Seed of random crops and of the draws of views.
        longest_seconds: Longest clip that is decoded. A batch names longer ones without their samples.
        views: Views of the clips. Each draw gets one of them, and the batch has its id.
        partners: Clips with which the views are mixed; see `ClipViews`.
    """

    def __init__(
        self,
        manifest: Manifest,
        sample_rate: int,
        crop: Crop,
        classes: tuple[str, ...] = (),
        seed: int = 0,
        longest_seconds: float = math.inf,
        views: Views = Views(),
        partners: NDArray[np.int32] | None = None,
    ) -> None:
        self.manifest, self.sample_rate, self.crop, self.seed = manifest, sample_rate, crop, seed
        self.longest_seconds, self.views = longest_seconds, ClipViews(manifest.rows, views, partners)
        self._columns = {name: column for column, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.manifest)

    @cached_property
    def seconds(self) -> NDArray[np.float32]:
        """Length of each clip after its crop, in seconds. Shape (clips,). 0 for a file that cannot be read."""
        return np.minimum(clip_seconds(self.manifest), self.crop.seconds or np.inf).astype(np.float32)

    def __getitems__(self, batch: Draws) -> Loaded:
        """Load the clips of one batch. Clips that cannot be used are set aside. The loader calls this."""
        clips, aside, long, seconds = [], list[SetAside](), list[int](), Seconds()
        rows = [
            self.views.row(number, self.views.drawn(number, self.seed, draw))
            for number, draw in zip(batch.rows, batch.draws, strict=True)
        ]
        spans = [self.span(row, draw) for row, draw in zip(rows, batch.draws, strict=True)]
        decoded = decode_all(rows, spans)
        for number, row, span, found in zip(batch.rows, rows, spans, decoded, strict=True):
            try:
                clips.append(self._changed(row, found))
                seconds = seconds.plus(span.measured[0])
            except AudioError as error:
                if error.reason == _TOO_LONG:
                    long.append(int(number))
                else:
                    aside.append(SetAside(self.manifest.ids[number], error.reason, error.detail))
        loaded = collate(clips, self.sample_rate) if clips else None
        return Loaded(loaded, tuple(aside), long=tuple(long), seconds=seconds)

    def __getitem__(self, row: int) -> Loaded:
        return self.__getitems__(Draws([row], [0]))

    def clip(self, row: Row, draw: int = 0) -> Clip:
        """Return one clip, cropped, at its own sample rate. Raises AudioError."""
        return self._changed(row, read(row.path, self.span(row, draw), row.part))

    def span(self, row: Row, draw: int = 0) -> ClipSpan:
        """Return the part of its file that a clip is, cropped."""
        return ClipSpan(
            start=row.start,
            duration=row.duration,
            max_seconds=self.crop.seconds or None,
            crop_position=row.view.position if row.view else self._crop_position(draw),
            longest_seconds=self.longest_seconds,
        )

    def _changed(self, row: Row, decoded: Decoded | AudioError) -> Clip:
        """Return a decoded clip, changed by its view. Raises the error of the clip, or AudioError for its partner."""
        if isinstance(decoded, AudioError):
            raise decoded
        samples, sample_rate = decoded
        waveform, view = torch.from_numpy(samples), row.view
        if view is None:
            return Clip(row.id, waveform, sample_rate, self.labels(row))
        clip = Clip(row.id, view.change(waveform), sample_rate, self.labels(row))
        return clip if view.partner is None else clip._replace(partner=self._partner(view.partner), share=view.share)

    def _partner(self, row: Row) -> Clip:
        """Return the clip with which another one is mixed. Raises AudioError."""
        try:
            return self.clip(row)
        except AudioError as error:
            raise AudioError(error.reason, f"it is mixed with {row.id}: {error.detail}") from error

    def labels(self, clip: Row) -> Tensor:
        """Return the multi-hot labels (classes,) of one clip; NaN where a label was not annotated."""
        return torch.from_numpy(multi_hot(clip, self._columns)) if self._columns else torch.zeros(0)

    def _crop_position(self, draw: int) -> float:
        """Return where the crop lies inside the clip, from 0 (at the start) to 1 (at the end)."""
        if self.crop.position == "random":
            return float(np.random.default_rng([self.seed, draw]).random())
        return 0.5 if self.crop.position == "centre" else 0.0


def clip_seconds(manifest: Manifest) -> NDArray[np.float64]:
    """Return the length of each clip in seconds (clips,); 0 for a file that cannot be read.

    Only the headers of clips of unknown length are read.
    """
    lengths = manifest.rows.durations.copy()
    unknown = np.flatnonzero(np.isnan(lengths)).tolist()
    for number in tqdm(unknown, desc="read lengths", unit="clip", delay=5, leave=False):
        lengths[number] = row_seconds(manifest.rows[number])
    return lengths


def row_seconds(row: Row) -> float:
    """Return the length of a clip in seconds; 0 if its file cannot be read, since decoding reports the reason."""
    try:
        return row.duration or max(0.0, duration(row.path, row.part) - row.start)
    except AudioError:
        return 0.0


def input_fingerprint(sample_rate: int, crop: Crop) -> dict[str, object]:
    """Return all that determines the audio input of an encoder, for the fingerprint of a store."""
    return {
        "sample_rate": sample_rate,
        "resampler": RESAMPLER,
        "channels": CHANNEL_POLICY,
        "crop_seconds": crop.seconds,
        "crop_position": crop.position,
    }
