"""A student, what it should learn, and the heads between the two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.students.student import Student


class Objective(nn.Module, ABC):
    """Holds the student, the teachers it needs, and what is thrown away after training.

    Args:
        student: Encoder to train.
        weights: Weight of each named loss in the total; 1 where not named.

    Attributes:
        reads_frames: Whether the teachers' frames are needed, which a store of clip embeddings has not.
        observed: What the last forward measured beside its losses, by name; logged and not minimised.
    """

    reads_frames = False

    def __init__(self, student: Student, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.student = student
        self.weights = dict(weights or {})
        self.observed: dict[str, float] = {}

    @abstractmethod
    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Named, unweighted scalar losses of one batch."""

    def after_step(self, step: int) -> None:
        """Called after each optimizer step, for moving averages and temperatures."""

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        terms = [self.weights.get(name, 1.0) * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
