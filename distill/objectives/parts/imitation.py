"""One teacher of a distillation: the path from the student's embeddings to the teacher's loss."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distill.data.batch import Embeddings
from distill.losses import Loss
from distill.objectives.parts.alignment import Alignment
from distill.objectives.parts.masking import rows_where
from distill.objectives.parts.observed import Observed
from distill.objectives.parts.statistics import PhiStandardise, Standardise, Whiten, sample_stored
from distill.objectives.parts.yardstick import Yardstick
from distill.students.spaces import Space
from distill.teachers.teacher import Teacher

_NORMALISATIONS: dict[str, type[Standardise | Whiten | PhiStandardise]] = {
    "standardised": Standardise,
    "whitened": Whiten,
    "phi_s": PhiStandardise,
}


class Imitated(NamedTuple):
    """Loss of one teacher, and its measurements.

    Args:
        loss: Scalar.
        observed: Measurement of the `Yardstick`, by name.
        rows: Loss of each row; `loss` is their mean. Shape (rows,). No rows unless they are weighted by clips.
        clips: Clip of each row. Shape (rows,).
    """

    loss: Tensor
    observed: Mapping[str, Observed]
    rows: Tensor
    clips: Tensor

    def by_clip(self, number: int) -> Tensor:
        """Return the mean loss of the rows of each of `number` clips; 0 for a clip without rows. Shape (clips,)."""
        sums = self.rows.new_zeros(number).index_add(0, self.clips, self.rows)
        counts = sums.new_zeros(number).index_add(0, self.clips, torch.ones_like(self.rows))
        return sums / counts.clamp(min=1)

    def weighted(self, weights: Tensor) -> Tensor:
        """Return the mean of the rows' losses, each times the weight of its clip, from weights (clips,). A scalar."""
        return (weights[self.clips] * self.rows).mean() if len(self.rows) else self.loss


class Imitation(nn.Module):
    """One teacher, and the path from the student's embeddings to its loss.

    Args:
        teacher: Encoder to imitate. Its sizes and stored embeddings are read; it is not kept.
        projector: Module that maps the student's embedding to the teacher's size.
        loss: Loss between a prediction and a target.
        alignment: How frames are paired; None compares clip embeddings.
        targets: "raw", "standardised", "whitened" or "phi_s"; the last two need a teacher with a store.
        by_rows: Whether the loss of each row is returned too. The loss must have `averages_rows`.
    """

    def __init__(
        self,
        teacher: Teacher,
        projector: nn.Module,
        loss: Loss,
        alignment: Alignment | None,
        targets: str,
        by_rows: bool = False,
    ) -> None:
        super().__init__()
        self.by_rows = by_rows
        self.projector, self.loss, self.alignment = projector, loss, alignment
        self.needs_clusters = bool(getattr(loss, "needs_clusters", False))
        dim = teacher.frame_dim if alignment else teacher.clip_dim
        self.normalise = None if targets == "raw" else _NORMALISATIONS[targets](dim)
        self.yardstick = Yardstick(loss, dim)
        if self.normalise is None and self.yardstick.constant is None:
            return
        stored = sample_stored(teacher, frames=alignment is not None)
        if stored is not None:
            self._fit(stored)

    def _fit(self, vectors: Tensor) -> None:
        """Fix the statistics and the constant prediction by the teacher's stored vectors (rows, dim)."""
        if self.normalise is not None:
            self.normalise.fit(vectors)
            vectors = self.normalise(vectors)
        self.yardstick.fit(vectors)

    def forward(self, student: Embeddings, teacher: Embeddings, clusters: Tensor | None = None) -> Imitated:
        """Return the loss of one batch with its measurements; a loss of 0 if no frames can be paired.

        Args:
            student: Embeddings of the student.
            teacher: Embeddings of the teacher.
            clusters: Cluster of each clip. Shape (batch,). Used by losses with `needs_clusters`.
        """
        prediction, target, clip_index = self._pair(student, teacher)
        if len(target) == 0:  # clips shorter than one frame of the coarser encoder
            return Imitated(prediction.sum() * 0, {}, prediction.new_zeros(0), clip_index)
        if self.normalise is not None:
            target = self.normalise(target)
        prediction = self.projector(prediction)
        of_rows = (clusters[clip_index],) if clusters is not None and self.needs_clusters else ()
        rows = row_losses(self.loss, prediction, target) if self.by_rows else prediction.new_zeros(0)
        loss = rows.mean() if self.by_rows else self.loss(prediction, target, *of_rows)
        return Imitated(loss, self.yardstick(self.loss, loss, prediction, target), rows, clip_index)

    def space(self) -> Space | None:
        """Return the map from the student's clip embedding into the teacher's space. None if frames are compared."""
        if self.alignment is not None:
            return None
        modules = self.projector if isinstance(self.projector, nn.Sequential) else [self.projector]
        layers = [(module.weight, module.bias) for module in modules if isinstance(module, nn.Linear)]
        dim = layers[-1][0].shape[0]
        norm = float(dim**0.5 if self.normalise is not None else 1.0)
        matrix, mean = self.normalise.inverse() if self.normalise is not None else (torch.eye(dim), torch.zeros(dim))
        return Space(layers, matrix.cpu(), mean.cpu(), norm if self._ignores_length(dim) else 0.0).cpu()

    def _ignores_length(self, dim: int) -> bool:
        """Return whether the loss does not depend on the length of a prediction, as a loss of cosines."""
        generator, device = torch.Generator().manual_seed(0), next(self.projector.parameters()).device
        prediction, target = torch.randn(2, 8, dim, generator=generator).to(device)
        clusters = (torch.arange(8, device=device) // 2,) if self.needs_clusters else ()
        with torch.no_grad():  # by copies, as a loss may have a queue
            before, after = (copy.deepcopy(self.loss)(length * prediction, target, *clusters) for length in (1.0, 3.0))
        return bool(torch.isclose(before, after, rtol=1e-4, atol=1e-6))

    def _pair(self, student: Embeddings, teacher: Embeddings) -> tuple[Tensor, Tensor, Tensor]:
        """Return paired rows of both (rows, dim), all clips or all valid frames, and the clip of each row (rows,)."""
        if self.alignment is None:
            return student.clip, teacher.clip, torch.arange(len(student.clip), device=student.clip.device)
        pairs = self.alignment(student, teacher)
        rows = rows_where(pairs.mask, pairs.mask.device)  # the only wait for the device
        student_frames, teacher_frames = (frames.flatten(0, 1)[rows] for frames in (pairs.student, pairs.teacher))
        return student_frames, teacher_frames, rows // pairs.mask.shape[1]


def row_losses(loss: Loss, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each row (rows,), of a loss with `averages_rows`, from tensors (rows, dim)."""
    single = torch.vmap(lambda predicted, wanted: loss(predicted.unsqueeze(0), wanted.unsqueeze(0)))
    rows: Tensor = single(prediction, target)
    return rows


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
