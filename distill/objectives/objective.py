"""The base class of objectives: a student, its teachers, the heads between them, and the losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.clips.manifest import Manifest
from distill.data.clips.views import Views
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError
from distill.data.sampling.clusters import Clustering
from distill.objectives.parts.observed import Observed
from distill.students.spaces import Space
from distill.students.student import Student
from distill.teachers.holder import FrozenTeachers
from distill.teachers.teacher import Teacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Objective(nn.Module, ABC):
    """A student, the teachers that it imitates, and the heads that are discarded after training.

    Args:
        student: Encoder to train.
        published: Weight of each named loss in the total, as in the paper.
        weights: Weights that replace published ones, by name. None replaces none.
        teachers: Frozen encoders by name. None means no teachers.

    Attributes:
        teachers: The teachers. They are not child modules; moves to a device or dtype reach them, and nothing else.
        reads_frames: Whether the teachers' frame embeddings are needed; a store of clip embeddings has none.
        reads_labels: Whether the data must have labels.
        needs_clusters: Whether `clusters` must be set before training.
        needs_store: Name of the statistics that are computed from stored embeddings. Empty means none.
        augments_teachers: Whether the teachers get the input of the student in training, with its random changes.
        views: Views of the clips, of which a batch in training has one for each clip. By default, the clip itself.
        requires_teachers: Whether it needs a teacher.
        takes_teachers: Whether the constructor has an argument `teachers`, a mapping of teachers by name.
        shared_statistics: Names of the buffers that several processes average after each step, as each sees a part of
            the batch. A module of the objective may have this attribute too.
        clusters: Clusters of the training clips; None until they are set.
        observed: Measurements of the last forward, by name. They are logged and not minimised. `observe` makes them of
            tensors without waiting for their device.

    Raises:
        UserError: `weights` names an unknown loss.
    """

    reads_frames = False
    reads_labels = False
    needs_clusters = False
    needs_store = ""
    augments_teachers = False
    views = Views()
    takes_teachers = False
    requires_teachers = False
    shared_statistics: tuple[str, ...] = ()

    @classmethod
    def options_for(cls, options: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """Return the options, with those chosen that depend on the data."""
        return dict(options)

    def __init__(
        self,
        student: Student,
        published: Mapping[str, float],
        weights: Mapping[str, float] | None = None,
        teachers: Mapping[str, Teacher] | None = None,
    ) -> None:
        super().__init__()
        if unknown := sorted((weights or {}).keys() - published.keys()):
            raise UserError(f"--objective.weights: no loss {unknown[0]!r}; {suggest(unknown[0], list(published))}")
        self.student = student
        self.teachers = FrozenTeachers(teachers or {})
        self.weights = {**published, **(weights or {})}
        self.observed: dict[str, Observed] = {}
        self.clusters: Clustering | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.teachers.move(fn)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def check_teachers(self) -> None:
        """Raise UserError if a teacher is a child module, where training and checkpoints would reach it."""
        for name, module in self.named_modules():
            if isinstance(module, Teacher):
                raise UserError(
                    f"{type(self).__name__}.{name}: a teacher must not be a child module of an objective; "
                    "pass it to super().__init__(..., teachers={name: teacher})"
                )

    @abstractmethod
    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return the losses of one batch by name, as unweighted scalars."""

    def pictures(self, batch: AudioBatch) -> dict[str, Figure]:
        """Return pictures of the trained objective by name, from a batch in evaluation mode. The default is none."""
        return {}

    def spaces(self) -> Mapping[str, Space]:
        """Return the map from the student's clip embedding into the space of each teacher. The default is none."""
        return {}

    def read_clips(self, manifest: Manifest) -> None:
        """Read what the losses need to know of the clips, training and held-out ones. The default reads nothing.

        Called before anything is embedded. Raises UserError if clips and options do not fit each other.
        """

    def check_observed(self, name: str, step: int, value: float) -> None:
        """Raise UserError if a measurement shows that training fails. The default checks nothing.

        Called in training when a measurement has been read, on a device other than the CPU some steps later.

        Args:
            name: Name of the measurement in `observed`.
            step: Training step in which it was measured, counted from 1.
            value: The measurement.
        """

    def after_step(self, step: int) -> None:
        """Update moving averages and temperatures. Called after each optimizer step."""

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the losses, which is minimised."""
        terms = [self.weights[name] * loss for name, loss in losses.items()]
        return sum(terms[1:], start=terms[0])
