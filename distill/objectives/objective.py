"""A student, what it should learn, and the heads between the two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.clips.manifest import Manifest
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError
from distill.students.student import Student

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Objective(nn.Module, ABC):
    """Holds the student, the teachers it needs, and what is thrown away after training.

    Args:
        student: Encoder to train.
        published: Weight of each named loss in the total as its paper has it.
        weights: Weights that the user wants instead.

    Attributes:
        reads_frames: Whether the teachers' frames are needed, which a store of clip embeddings has not.
        reads_labels: Whether the data must have labels.
        needs_clusters: Whether it asks for `clusters`.
        needs_store: What is made from the teachers' stored embeddings, in words, where something is.
        takes_teachers: Whether the constructor has an argument `teachers`, a mapping of teachers by name.
        clusters: Cluster of each training clip by its id, where it asks for them.
        observed: What the last forward measured beside its losses, by name; logged and not minimised.
    """

    reads_frames = False
    reads_labels = False
    needs_clusters = False
    needs_store = ""
    takes_teachers = False

    @classmethod
    def options_for(cls, options: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """Return the options, with those chosen that depend on the data."""
        return dict(options)

    def __init__(
        self, student: Student, published: Mapping[str, float], weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        if unknown := sorted((weights or {}).keys() - published.keys()):
            raise UserError(f"--objective.weights: no loss {unknown[0]!r}; {suggest(unknown[0], list(published))}")
        self.student = student
        self.weights = {**published, **(weights or {})}
        self.observed: dict[str, float] = {}
        self.clusters: dict[str, int] = {}

    @abstractmethod
    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Named, unweighted scalar losses of one batch."""

    def pictures(self, batch: AudioBatch) -> dict[str, Figure]:
        """Pictures of what was learned, by name, from a batch in evaluation mode; none by default."""
        return {}

    def after_step(self, step: int) -> None:
        """Called after each optimizer step, for moving averages and temperatures."""

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum that is minimised."""
        terms = [self.weights[name] * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
