"""A teacher that has spoken already."""

from __future__ import annotations

from pathlib import Path

import torch

from distill.data.batch import AudioBatch, Embeddings
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

    @torch.no_grad()
    def forward(self, batch: AudioBatch) -> Embeddings:
        """Embeddings of the clips that `batch.ids` names; the waveform is not looked at."""
        return self.encode(batch)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embeddings of the clips that `batch.ids` names."""
        return Embeddings.of_clip(torch.from_numpy(self.store[batch.ids]).to(batch.waveform.device))
