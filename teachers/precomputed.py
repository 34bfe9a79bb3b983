"""A teacher whose embeddings are read from a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.audio.frames import frame_mask
from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.checkpoint import Provenance
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.teachers.teacher import Teacher


class Precomputed(Teacher):
    """Embeddings that are looked up by clip id instead of being computed.

    Args:
        store: Folder written by `distill embed`.

    Raises:
        UserError: the folder does not contain a store.
    """

    store: EmbeddingStore
    licence = "that of the teacher that wrote the store"
    source = "`distill embed`"

    def __init__(self, store: str | Path) -> None:
        super().__init__()
        self.store = EmbeddingStore(store)
        self.sample_rate = int(self.store.fingerprint["sample_rate"])
        origin = self.store.origin  # empty in stores of earlier versions
        self.licence, self.source = origin.get("licence", self.licence), origin.get("source", self.source)
        if "provenance" in origin:
            self.provenance = Provenance(**origin["provenance"])

    def check_crop(self, crop: Mapping[str, object]) -> None:
        """Raise UserError if the store was embedded with another crop.

        Args:
            crop: `crop_seconds` and `crop_position`, as in the store's fingerprint.
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
        """Size of a frame's embedding. Without frames in the store, the clip embedding is the only frame."""
        return self.store.frame_dim or self.store.dim

    @property
    def frame_hop(self) -> float:
        """Seconds from one frame to the next. 0: the store has no frames."""
        if not self.store.frame_dim:
            return 0.0
        times = self.store.frame_times
        return float(times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0

    def sample(self, clips: int, frames: bool = False) -> NDArray[np.float32]:
        """Return stored embeddings of at most `clips` clips, at equal distances in `drawn`.

        Args:
            clips: Largest number of clips.
            frames: Return frame embeddings instead of clip embeddings.

        Returns:
            Shape (rows, dim).
        """
        ids = self.drawn or self.store.ids
        chosen = [ids[row] for row in np.linspace(0, len(ids) - 1, min(clips, len(ids))).astype(np.int64)]
        return np.concatenate(self.store.frames(chosen)) if frames else self.store[chosen]

    @torch.no_grad()
    def forward(self, batch: AudioBatch) -> Embeddings:
        """Return the embeddings of the clips in `batch.ids`. The waveform is not read."""
        return self.encode(batch)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Return the embeddings of the clips in `batch.ids`."""
        device = batch.waveform.device
        clip = torch.from_numpy(self.store[batch.ids]).to(device)
        if not self.store.frame_dim:
            return Embeddings.of_clip(clip)
        clips = [torch.from_numpy(frames) for frames in self.store.frames(batch.ids)]
        frames = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True).to(device)
        counts = torch.tensor([len(clip_frames) for clip_frames in clips], device=device)
        times = torch.from_numpy(self.store.frame_times[: frames.shape[1]]).to(device)
        return Embeddings.of_frames(frames, times, frame_mask(counts, frames.shape[1]), clip=clip)
