"""One teacher of a distillation: the path from the student's embeddings to the teacher's loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill.data.batch import Embeddings
from distill.losses import Loss
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.statistics import PhiStandardise, Standardise, Whiten
from distill.objectives.parts.yardstick import BestConstant, explained, recall
from distill.teachers.teacher import Teacher

_STATISTICS_CLIPS = 50_000  # clips from which the statistics of a store are computed
_STATISTICS_FRAMES_PER_CLIP = 20  # frames of one clip are similar, so fewer clips keep the cost the same


class Imitated(NamedTuple):
    """Loss of one teacher, and its measurements.

    Args:
        loss: Scalar.
        observed: "explained": share of the loss of the best constant prediction that is explained; or, for a loss with
            `retrieves`, "recall": share of rows whose own target is the nearest of the batch. Empty if neither exists.
    """

    loss: Tensor
    observed: Mapping[str, float]


class Imitation(nn.Module):
    """One teacher, and the path from the student's embeddings to its loss.

    Args:
        teacher: Encoder to imitate. Its sizes and stored embeddings are read; it is not kept.
        projector: Module that maps the student's embedding to the teacher's size.
        loss: Loss between a prediction and a target.
        alignment: How frames are paired; None compares clip embeddings.
        targets: "raw", "standardised", "whitened" or "phi_s"; the last two need a teacher with a store.
    """

    def __init__(
        self, teacher: Teacher, projector: nn.Module, loss: Loss, alignment: Alignment | None, targets: str
    ) -> None:
        super().__init__()
        self.projector, self.loss, self.alignment = projector, loss, alignment
        self.needs_clusters = bool(getattr(loss, "needs_clusters", False))
        self.retrieves = bool(getattr(loss, "retrieves", False))
        dim = teacher.frame_dim if alignment else teacher.clip_dim
        normalisations = {"standardised": Standardise, "whitened": Whiten, "phi_s": PhiStandardise}
        self.normalise = None if targets == "raw" else normalisations[targets](dim)
        self.constant = BestConstant(dim, loss.constant) if hasattr(loss, "constant") else None
        if self.normalise is None and self.constant is None:
            return
        clips = _STATISTICS_CLIPS // (_STATISTICS_FRAMES_PER_CLIP if alignment else 1)
        stored = teacher.sample(clips, frames=alignment is not None)
        if stored is not None:
            self._fit(torch.from_numpy(stored))

    def _fit(self, vectors: Tensor) -> None:
        """Fix the statistics and the constant prediction by the teacher's stored vectors (rows, dim)."""
        if self.normalise is not None:
            self.normalise.fit(vectors)
            vectors = self.normalise(vectors)
        if self.constant is not None:
            self.constant.fit(vectors)

    def forward(self, student: Embeddings, teacher: Embeddings, clusters: Tensor | None = None) -> Imitated:
        """Return the loss of one batch with its measurements; a loss of 0 if no frames can be paired.

        Args:
            student: Embeddings of the student.
            teacher: Embeddings of the teacher.
            clusters: Cluster of each clip. Shape (batch,). Used by losses with `needs_clusters`.
        """
        prediction, target, clip_index = self._pair(student, teacher)
        if len(target) == 0:  # clips shorter than one frame of the coarser encoder
            return Imitated(prediction.sum() * 0, {})
        if self.normalise is not None:
            target = self.normalise(target)
        prediction = self.projector(prediction)
        of_rows = (clusters[clip_index],) if clusters is not None and self.needs_clusters else ()
        loss = self.loss(prediction, target, *of_rows)
        return Imitated(loss, self._measure(loss, prediction, target))

    @torch.no_grad()
    def _measure(self, loss: Tensor, prediction: Tensor, target: Tensor) -> dict[str, float]:
        """Return the measurements of a batch, by name. Prediction and target have shape (rows, dim)."""
        if self.retrieves:
            return {"recall": recall(prediction, target)}
        constant = None if self.constant is None else self.constant(target)
        return {} if constant is None else {"explained": explained(loss, self.loss(constant, target))}

    def _pair(self, student: Embeddings, teacher: Embeddings) -> tuple[Tensor, Tensor, Tensor]:
        """Return paired rows of both (rows, dim), all clips or all valid frames, and the clip of each row (rows,)."""
        if self.alignment is None:
            return student.clip, teacher.clip, torch.arange(len(student.clip), device=student.clip.device)
        pairs = self.alignment(student, teacher)
        return pairs.student[pairs.mask], pairs.teacher[pairs.mask], pairs.mask.nonzero()[:, 0]

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Read the state of an earlier version too, which has no constant prediction."""
        if self.constant is not None:
            for name, value in self.constant.state_dict().items():
                state.setdefault(f"{prefix}constant.{name}", value)
        super()._load_from_state_dict(state, prefix, *args)


def build_projector(kind: str, inputs: int, outputs: int, hidden: int, dropout: float) -> nn.Module:
    """Return a module that maps (rows, inputs) to (rows, outputs).

    Args:
        kind: "mlp": Linear, Hardswish, Dropout, Linear; or "linear".
        inputs: Size of the student's embedding.
        outputs: Size of the teacher's embedding.
        hidden: Width of the "mlp".
        dropout: Dropout rate in the "mlp".
    """
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(hidden, outputs)
    )  # fmt: skip
