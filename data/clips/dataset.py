"""Clips of a manifest, decoded, cropped and at one sample rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from distill.data.audio.read import CHANNEL_POLICY, Span, read
from distill.data.audio.resample import RESAMPLER
from distill.data.batch import AudioBatch, Clip, collate
from distill.data.clips.labels import multi_hot
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import AudioError
from distill.data.sampling.orders import Draws
from distill.data.store.format import SetAside

CROPS = ("start", "centre", "random")


@dataclass(frozen=True)
class Crop:
    """Which part of a clip is used.

    Args:
        seconds: At most so much of each clip; 0 uses clips whole.
        position: "start", "centre", or "random": another part in each epoch.
    """

    seconds: float = 10.0
    position: str = "centre"

    def __post_init__(self) -> None:
        if self.position not in CROPS:
            raise ValueError(f"crop.position {self.position!r}: one of {', '.join(CROPS)} is wanted")
        if not self.seconds >= 0:
            raise ValueError(f"crop.seconds {self.seconds}: 0 or more is wanted")


@dataclass(frozen=True)
class Loaded:
    """A batch, or None where no clip of it could be used; and the clips that were set aside."""

    batch: AudioBatch | None
    set_aside: tuple[SetAside, ...]


class ClipDataset(Dataset[Loaded]):
    """Batches of a manifest: index it with `Draws`, as a loader with a batch sampler does.

    Random crops are a function of the draw, so that a resumed run hears the same.

    Args:
        manifest: The clips.
        sample_rate: Of the batches, in Hz; every clip is resampled from its own rate once.
        crop: Part of each clip that is used.
        classes: Order of the labels.
        seed: Of random crops.
    """

    def __init__(
        self, manifest: Manifest, sample_rate: int, crop: Crop, classes: tuple[str, ...] = (), seed: int = 0
    ) -> None:
        self.manifest, self.sample_rate, self.crop, self.seed = manifest, sample_rate, crop, seed
        self._columns = {name: column for column, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitems__(self, batch: Draws) -> Loaded:
        """What a loader calls: decode the clips of one batch; broken ones are set aside."""
        clips, aside = [], []
        for row, draw in zip(batch.rows, batch.draws, strict=True):
            named = self.manifest.rows[row]
            try:
                clips.append(self.clip(named, draw))
            except AudioError as error:
                aside.append(SetAside(named.id, error.reason, error.detail))
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
        samples, sample_rate = read(row.path, span)
        return Clip(row.id, torch.from_numpy(samples), sample_rate, self.labels(row))

    def labels(self, clip: Row) -> Tensor:
        """Return the multi-hot labels (classes,) of one clip; NaN where a label was not annotated."""
        return torch.from_numpy(multi_hot(clip, self._columns)) if self._columns else torch.zeros(0)

    def _crop_position(self, draw: int) -> float:
        """Return where the crop lies inside the clip, from 0 (at the start) to 1 (at the end)."""
        if self.crop.position == "random":
            return float(np.random.default_rng([self.seed, draw]).random())
        return 0.5 if self.crop.position == "centre" else 0.0


def input_fingerprint(sample_rate: int, crop: Crop) -> dict[str, object]:
    """What shapes the audio that an encoder gets, for the fingerprint of a store."""
    return {
        "sample_rate": sample_rate,
        "resampler": RESAMPLER,
        "channels": CHANNEL_POLICY,
        "crop_seconds": crop.seconds,
        "crop_position": crop.position,
    }
