"""Batches of the clips of a manifest: decoded, cropped and resampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from distill.data.audio.read import CHANNEL_POLICY, Span, duration, read
from distill.data.audio.resample import RESAMPLER
from distill.data.batch import AudioBatch, Clip, collate
from distill.data.clips.labels import multi_hot
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import AudioError
from distill.data.sampling.batches import Draws
from distill.data.store.format import SetAside

CROPS = ("start", "centre", "random")


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


@dataclass(frozen=True)
class Loaded:
    """A loaded batch.

    Args:
        batch: The usable clips. None if there are none.
        set_aside: The other clips.
    """

    batch: AudioBatch | None
    set_aside: tuple[SetAside, ...]


class ClipDataset(Dataset[Loaded]):
    """The clips of a manifest as a torch data set, for a loader with a sampler of `Draws`.

    A random crop is a function of the seed and the draw, so a resumed run gets the same crops.

    Args:
        manifest: The clips.
        sample_rate: Rate of the batches, in Hz. Every clip is resampled once, from the rate of its file.
        crop: Part of each clip that is used.
        classes: Names of the classes, in the order of the labels. Empty means no labels.
        seed: Seed of random crops.
    """

    def __init__(
        self, manifest: Manifest, sample_rate: int, crop: Crop, classes: tuple[str, ...] = (), seed: int = 0
    ) -> None:
        self.manifest, self.sample_rate, self.crop, self.seed = manifest, sample_rate, crop, seed
        self._columns = {name: column for column, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.manifest)

    @cached_property
    def seconds(self) -> NDArray[np.float32]:
        """Length of each clip after its crop, in seconds. Shape (clips,). 0 for a file that cannot be read."""
        longest = self.crop.seconds or np.inf
        return np.array([min(row_seconds(row), longest) for row in self.manifest.rows], dtype=np.float32)

    def __getitems__(self, batch: Draws) -> Loaded:
        """Load the clips of one batch. Clips that cannot be used are set aside. The loader calls this."""
        clips, aside = [], []
        for row, draw in zip(batch.rows, batch.draws, strict=True):
            clip = self.manifest.rows[row]
            try:
                clips.append(self.clip(clip, draw))
            except AudioError as error:
                aside.append(SetAside(clip.id, error.reason, error.detail))
        return Loaded(collate(clips, self.sample_rate) if clips else None, tuple(aside))

    def __getitem__(self, row: int) -> Loaded:
        return self.__getitems__(Draws([row], [0]))

    def clip(self, row: Row, draw: int = 0) -> Clip:
        """Return one clip, cropped, at its own sample rate. Raises AudioError."""
        span = Span(
            start=row.start,
            duration=row.duration,
            max_seconds=self.crop.seconds or None,
            crop_position=self._crop_position(draw),
        )
        samples, sample_rate = read(row.path, span, row.part)
        return Clip(row.id, torch.from_numpy(samples), sample_rate, self.labels(row))

    def labels(self, clip: Row) -> Tensor:
        """Return the multi-hot labels (classes,) of one clip; NaN where a label was not annotated."""
        return torch.from_numpy(multi_hot(clip, self._columns)) if self._columns else torch.zeros(0)

    def _crop_position(self, draw: int) -> float:
        """Return where the crop lies inside the clip, from 0 (at the start) to 1 (at the end)."""
        if self.crop.position == "random":
            return float(np.random.default_rng([self.seed, draw]).random())
        return 0.5 if self.crop.position == "centre" else 0.0


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
