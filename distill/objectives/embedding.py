"""Distillation of clip embeddings: no logits, no labels, no matching of layers."""

from __future__ import annotations

from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.losses import LOSSES
from distill.objectives.objective import Objective
from distill.students.student import Student
from distill.teachers.teacher import Teacher


class EmbeddingDistillation(Objective):
    """Imitate the teacher's clip embedding through a projector (S-SONDO, arXiv 2604.24933, section 2.1).

    The projector is Linear, Hardswish, Dropout, Linear, and fits itself to the two sizes; it is thrown away after
    training, and the embedding of the student is what it reads.

    Args:
        student: Encoder to train.
        teacher: Encoder to imitate, live or `Precomputed`.
        loss: Registered name of a loss.
        hidden: Width of the projector; 0 is 4/3 of the student's embedding, as 1280 is of 960 in the paper.
        dropout: Share of hidden units that are dropped.
    """

    def __init__(
        self, student: Student, teacher: Teacher, loss: str = "cosine", hidden: int = 0, dropout: float = 0.2
    ) -> None:
        super().__init__(student)
        self.teacher = teacher
        self.loss = LOSSES.find(loss)
        hidden = hidden or student.clip_dim * 4 // 3
        self.projector = nn.Sequential(
            nn.Linear(student.clip_dim, hidden),
            nn.Hardswish(),
            nn.Dropout(dropout),
            nn.Linear(hidden, teacher.clip_dim),
        )

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """{"embedding": loss}."""
        target = self.teacher(batch).clip
        return {"embedding": self.loss(self.projector(self.student(batch).clip), target)}
