"""Distillation of embeddings: no logits, no labels, no matching of layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.alignment import Alignment
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError, require_one_of
from distill.losses import LOSSES, Loss
from distill.objectives.objective import Objective
from distill.statistics import Standardise
from distill.students.student import Student
from distill.teachers.precomputed import Precomputed
from distill.teachers.teacher import Teacher

LEVELS = ("clip", "frame")
TARGETS = ("auto", "raw", "standardised")
_STATISTICS_ROWS = 50_000


class EmbeddingDistillation(Objective):
    """Imitate teachers' embeddings, each through a projector of its own (S-SONDO, arXiv 2604.24933, section 2.1).

    A projector is Linear, Hardswish, Dropout, Linear, and fits itself to the two sizes; it is thrown away after
    training, and the embedding of the student is what it reads. The losses are named after the teachers.

    Args:
        student: Encoder to train.
        teachers: Encoders to imitate by name, live or `Precomputed`.
        loss: Registered name of a loss.
        level: "clip" embeddings or "frame" embeddings, paired by time.
        alignment: How frames are paired; see `distill.alignment.Alignment`.
        targets: "raw" embeddings, or "standardised" to mean 0 and variance 1 in each column, by the statistics of the
            store or, live, of all that was seen; "auto" is raw with one teacher and standardised with several.
        hidden: Width of the projector; 0 is 4/3 of the student's embedding, as 1280 is of 960 in the paper.
        dropout: Share of hidden units that are dropped.
        weights: Weight of each teacher's loss, by name; 1 where not named.

    Raises:
        UserError: an unknown loss, level or alignment; or an encoder without the frames that are asked for.
    """

    def __init__(
        self,
        student: Student,
        teachers: Mapping[str, Teacher],
        loss: str = "cosine",
        level: str = "clip",
        alignment: str = "auto",
        targets: str = "auto",
        hidden: int = 0,
        dropout: float = 0.2,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(student, dict.fromkeys(teachers, 1.0), weights)
        if not teachers:
            raise UserError("--teacher is wanted: whose embeddings shall the student imitate?")
        require_one_of("--objective.level", level, LEVELS)
        require_one_of("--objective.targets", targets, TARGETS)
        self.reads_frames = level == "frame"
        standardised = targets == "standardised" or (targets == "auto" and len(teachers) > 1)
        hidden = hidden or (student.frame_dim if self.reads_frames else student.clip_dim) * 4 // 3
        self.imitations = nn.ModuleDict()
        for name, teacher in teachers.items():
            paired = Alignment(student.frame_hop, teacher.frame_hop, alignment) if self.reads_frames else None
            dims = (student.frame_dim, teacher.frame_dim) if paired else (student.clip_dim, teacher.clip_dim)
            projector = nn.Sequential(
                nn.Linear(dims[0], hidden), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, dims[1])
            )
            self.imitations[name] = Imitation(teacher, projector, LOSSES.find(loss), paired, standardised)

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """The loss of each teacher, by its name."""
        embeddings = self.student(batch)
        return {name: imitation(embeddings, batch) for name, imitation in self.imitations.items()}


class Imitation(nn.Module):
    """One teacher, and what stands between the student and it.

    Args:
        teacher: Encoder to imitate.
        projector: From the student's embedding to the teacher's.
        loss: Between the two.
        alignment: How frames are paired; None imitates clip embeddings.
        standardised: Whether the teacher's embeddings are standardised first.
    """

    def __init__(
        self, teacher: Teacher, projector: nn.Module, loss: Loss, alignment: Alignment | None, standardised: bool
    ) -> None:
        super().__init__()
        self.teacher, self.projector, self.loss, self.alignment = teacher, projector, loss, alignment
        self.standardise: Standardise | None = None
        if standardised:
            self.standardise = Standardise(teacher.frame_dim if alignment else teacher.clip_dim)
            if isinstance(teacher, Precomputed):
                self.standardise.fit(torch.from_numpy(teacher.sample(_STATISTICS_ROWS)))

    def forward(self, student: Embeddings, batch: AudioBatch) -> Tensor:
        """Loss of one batch, given what the student makes of it."""
        prediction, target = self._pair(student, self.teacher(batch))
        if len(target) == 0:  # clips shorter than the frames that they would be compared in
            return prediction.sum() * 0
        if self.standardise is not None:
            target = self.standardise(target)
        return self.loss(self.projector(prediction), target)

    def _pair(self, student: Embeddings, teacher: Embeddings) -> tuple[Tensor, Tensor]:
        """What is compared: (clips, dim) of both, or (valid frames of all clips, dim) of both."""
        if self.alignment is None:
            return student.clip, teacher.clip
        pairs = self.alignment(student, teacher)
        return pairs.student[pairs.mask], pairs.teacher[pairs.mask]
