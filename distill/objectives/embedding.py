"""Distillation of embeddings: no logits, no labels, no matching of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError, require_one_of
from distill.data.files import as_settings
from distill.losses import Loss, build_loss
from distill.objectives.objective import Objective
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.augmentation import Augmentation
from distill.objectives.parts.statistics import Standardise, Whiten
from distill.students.student import Student
from distill.teachers.teacher import Teacher

LEVELS = ("clip", "frame")
TARGETS = ("auto", "raw", "standardised", "whitened")
HEARS = ("clean", "same")
PROJECTORS = ("mlp", "linear")
_STATISTICS_CLIPS = 50_000


class EmbeddingDistillation(Objective):
    """Imitate teachers' embeddings, each through a projector of its own (S-SONDO, arXiv 2604.24933, section 2.1).

    A projector fits itself to the two sizes; it is thrown away after training, and the embedding of the student is what
    it reads. The losses are named after the teachers.

    Args:
        student: Encoder to train.
        teachers: Encoders to imitate by name, live or `Precomputed`.
        loss: Registered name of a loss, or {class_path: NAME, init_args: {...}} for one with options.
        level: "clip" embeddings or "frame" embeddings, paired by time.
        alignment: How frames are paired; see `distill.objectives.parts.alignment.Alignment`.
        targets: "raw" embeddings; "standardised" to mean 0 and variance 1 in each column, by the statistics of what
            is drawn from the store or, live, of all that was seen; or "whitened", by those of the store. "auto" is raw
            with one teacher and standardised with several.
        augmentation: What is done to the sounds that the student hears in training.
        teacher_hears: "clean": teachers hear clips as they are, and where two are mixed so are their embeddings;
            "same": live teachers hear what the student hears.
        projector: "mlp": Linear, Hardswish, Dropout, Linear, as in the paper; or "linear", so that what the teacher
            knows is a linear function of the student's embedding.
        hidden: Width of the projector "mlp"; 0 is 4/3 of the student's embedding, as 1280 is of 960 in the paper.
        dropout: Share of hidden units that are dropped.
        weights: Weight of each teacher's loss, by name; 1 where not named.

    Raises:
        UserError: an unknown loss, level or alignment; or an encoder without the frames that are asked for.
    """

    def __init__(
        self,
        student: Student,
        teachers: Mapping[str, Teacher],
        loss: str | dict[str, Any] = "cosine",
        level: str = "clip",
        alignment: str = "auto",
        targets: str = "auto",
        augmentation: Augmentation | Mapping[str, Any] = Augmentation(),
        teacher_hears: str = "clean",
        projector: str = "mlp",
        hidden: int = 0,
        dropout: float = 0.2,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(student, dict.fromkeys(teachers, 1.0), weights, teachers)
        if not teachers:
            raise UserError("--teacher is wanted: whose embeddings shall the student imitate?")
        require_one_of("--objective.level", level, LEVELS)
        require_one_of("--objective.targets", targets, TARGETS)
        require_one_of("--objective.projector", projector, PROJECTORS)
        require_one_of("--objective.teacher_hears", teacher_hears, HEARS)
        stored = [name for name, teacher in teachers.items() if teacher.store is not None]
        if teacher_hears == "same" and stored:
            raise UserError(
                f"--objective.teacher_hears same: the stored {stored[0]!r} has heard clean clips only; --live"
            )
        self.augmentation = as_settings(Augmentation, augmentation)
        if self.augmentation.roll and level == "frame" and teacher_hears != "same":
            raise UserError(
                "--objective.augmentation.roll moves what the student hears away from the teacher's frames: leave it "
                "out, imitate clips, or --objective.teacher_hears same (with --live)"
            )
        self.same = teacher_hears == "same"
        self.reads_frames = level == "frame"
        if targets == "auto":
            targets = "standardised" if len(teachers) > 1 else "raw"
        hidden = hidden or (student.frame_dim if self.reads_frames else student.clip_dim) * 4 // 3
        self.imitations = nn.ModuleDict()
        for name, teacher in teachers.items():
            paired = Alignment(student.frame_hop, teacher.frame_hop, alignment) if self.reads_frames else None
            dims = (student.frame_dim, teacher.frame_dim) if paired else (student.clip_dim, teacher.clip_dim)
            between = build_projector(projector, *dims, hidden, dropout)
            self.imitations[name] = Imitation(teacher, between, build_loss(loss), paired, targets)
        self.needs_clusters = bool(getattr(build_loss(loss), "needs_clusters", False))
        self.needs_store = "whitened targets" if targets == "whitened" else "clusters" if self.needs_clusters else ""

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """The loss of each teacher, by its name."""
        heard, mix = self.augmentation(batch) if self.training else (batch, None)
        embeddings = self.student(heard)
        clusters = None
        if self.needs_clusters:
            known = [self.clusters[clip_id] for clip_id in batch.ids]
            clusters = torch.tensor(known, device=embeddings.clip.device)
        losses = {}
        for name, imitation in self.imitations.items():
            assert isinstance(imitation, Imitation)
            target = self.teachers[name](heard if self.same else batch)
            if mix is not None and not self.same:
                target = target.mix(*mix)
            losses[name] = imitation(embeddings, target, clusters)
        return losses


def build_projector(kind: str, inputs: int, outputs: int, hidden: int, dropout: float) -> nn.Module:
    """What stands between a student's embedding and a teacher's."""
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )  # fmt: skip


class Imitation(nn.Module):
    """What stands between the student and one teacher.

    Args:
        teacher: Encoder to imitate. Its sizes and stored embeddings are read; it is not kept.
        projector: From the student's embedding to the teacher's.
        loss: Between the two.
        alignment: How frames are paired; None imitates clip embeddings.
        targets: "raw", "standardised" or "whitened", the last by the statistics of a store only.
    """

    def __init__(
        self, teacher: Teacher, projector: nn.Module, loss: Loss, alignment: Alignment | None, targets: str
    ) -> None:
        super().__init__()
        self.projector, self.loss, self.alignment = projector, loss, alignment
        self.needs_clusters = bool(getattr(loss, "needs_clusters", False))
        self.normalise: Standardise | Whiten | None = None
        if targets == "raw":
            return
        dim = teacher.frame_dim if alignment else teacher.clip_dim
        self.normalise = Whiten(dim) if targets == "whitened" else Standardise(dim)
        clips = _STATISTICS_CLIPS // (20 if alignment else 1)
        stored = teacher.sample(clips, frames=alignment is not None)
        if stored is not None:
            self.normalise.fit(torch.from_numpy(stored))

    def forward(self, student: Embeddings, teacher: Embeddings, clusters: Tensor | None = None) -> Tensor:
        """Loss of one batch, given what the two make of it; `clusters` (batch,) for losses that want them."""
        prediction, target, clips = self._pair(student, teacher)
        if len(target) == 0:  # clips shorter than the frames that they would be compared in
            return prediction.sum() * 0
        if self.normalise is not None:
            target = self.normalise(target)
        if clusters is not None and self.needs_clusters:
            return self.loss(self.projector(prediction), target, clusters[clips])
        return self.loss(self.projector(prediction), target)

    def _pair(self, student: Embeddings, teacher: Embeddings) -> tuple[Tensor, Tensor, Tensor]:
        """What is compared (rows, dim) of both, and the clip of each row: all clips, or the valid frames of all."""
        if self.alignment is None:
            return student.clip, teacher.clip, torch.arange(len(student.clip), device=student.clip.device)
        pairs = self.alignment(student, teacher)
        return pairs.student[pairs.mask], pairs.teacher[pairs.mask], pairs.mask.nonzero()[:, 0]
