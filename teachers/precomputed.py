"""A teacher that has spoken already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.data.store import EmbeddingStore
from distill.teachers.teacher import Teacher


class Precomputed(Teacher):
    """Looks clip embeddings up by clip id instead of computing them, so that cached distillation is live distillation.

    Args:
        store: Folder written by `distill embed`.

    Raises:
        UserError: the folder holds no store.
    """

    licence = "that of the teacher that wrote the store"
    source = "`distill embed`"

    def __init__(self, store: str | Path) -> None:
        super().__init__()
        self.store = EmbeddingStore(store)
        self.sample_rate = int(self.store.fingerprint["sample_rate"])

    def check_crop(self, crop: Mapping[str, object]) -> None:
        """Refuse a run that crops other parts of the clips than the store was made from.

        Args:
            crop: `crop_seconds` and `crop_position`, as in the store's fingerprint.

        Raises:
            UserError: another crop.
        """
        for name, value in crop.items():
            stored = self.store.fingerprint.get(name, value)
            if stored != value:
                raise UserError(
                    f"--teacher.store {self.store.path} was embedded with {name} {stored}, and this run has {value}: "
                    f"--crop.{name.removeprefix('crop_')} {stored}, or embed again"
                )

    @property
    def clip_dim(self) -> int:
        """Size of a clip's embedding."""
        return self.store.dim

    @property
    def frame_dim(self) -> int:
        """Size of a frame's embedding; a store of clips has one frame a clip."""
        return self.store.dim

    @property
    def frame_hop(self) -> float:
        """0: whole clips."""
        return 0.0

    def sample(self, rows: int) -> NDArray[np.float32]:
        """At most so many of the stored embeddings, evenly over the store. Shape (rows, dim)."""
        stored = len(self.store)
        return self.store.read_rows(np.linspace(0, stored - 1, min(rows, stored)).astype(np.int64))

    @torch.no_grad()
    def forward(self, batch: AudioBatch) -> Embeddings:
        """Embeddings of the clips that `batch.ids` names; the waveform is not looked at."""
        return self.encode(batch)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embeddings of the clips that `batch.ids` names."""
        return Embeddings.of_clip(torch.from_numpy(self.store[batch.ids]).to(batch.waveform.device))
