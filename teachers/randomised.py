"""A teacher without its knowledge: the same network with shuffled weights, for ablations."""

from __future__ import annotations

import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.registry import Written
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


class Randomised(Teacher):
    """Another teacher whose weights are shuffled, each tensor within itself.

    The scale of every layer stays; what was learned is lost. A student of this teacher shows how much comes from the
    architecture alone, as in CAT's ablation (arXiv 2601.21612). Buffers stay too: mel filters, and the statistics of
    batch normalisation.

    Args:
        encoder: The teacher to shuffle: a registered name, an import path, or {class_path: NAME, init_args: {...}}.
        seed: Seed of the shuffles.

    Raises:
        UserError: the teacher cannot be loaded.
    """

    licence = "none: random weights"
    source = "another teacher: --teacher.encoder NAME"

    def __init__(self, encoder: Written, seed: int = 0) -> None:
        inner = TEACHERS.build(encoder)
        super().__init__(inner.windows)
        self.sample_rate, self.longest_window = inner.sample_rate, inner.longest_window
        self.whole_seconds = inner.whole_seconds
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in inner.parameters():
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
        self.encoder = inner

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch with the shuffled network. There are no logits, as they would mean nothing."""
        embeddings = self.encoder.encode(batch)
        return embeddings._replace(logits=embeddings.clip.new_zeros(len(batch), 0))
