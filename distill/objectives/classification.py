"""Fine-tuning on labels: HEAR's third stage, and any student with a head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.clips.manifest import Manifest
from distill.data.errors import UserError, require_one_of
from distill.data.files import as_settings
from distill.objectives.objective import Objective
from distill.objectives.parts.augmentation import Augmentation
from distill.students.student import Student

LOSSES = ("auto", "cross_entropy", "binary")


def loss_for(manifest: Manifest) -> str:
    """What "auto" is for these clips."""
    return "cross_entropy" if all(len(row.labels) == 1 and not row.annotated for row in manifest.rows) else "binary"


class Classification(Objective):
    """The labels of the data from the student's logits: cross entropy where each clip has one, else binary.

    Labels that were not annotated (NaN) are left out of the loss.

    Args:
        student: An encoder that gives logits, such as `hear_classifier`.
        augmentation: What is done to the sounds in training; where clips are mixed, so are their labels.
        loss: "cross_entropy"; "binary", each class by itself; or "auto", which `fit` decides by all of the data: cross
            entropy where each clip has one label. Without data at hand, each batch decides.
        smoothing: Share of the labels' weight that is spread over all classes, in cross entropy.
    """

    reads_labels = True

    def __init__(
        self,
        student: Student,
        augmentation: Augmentation | Mapping[str, Any] = Augmentation(),
        loss: str = "auto",
        smoothing: float = 0.0,
    ) -> None:
        super().__init__(student, {"classification": 1.0})
        require_one_of("--objective.loss", loss, LOSSES)
        if not 0 <= smoothing < 1:
            raise UserError(f"--objective.smoothing {smoothing}: a share from 0 to below 1 is wanted")
        self.loss, self.smoothing = loss, smoothing
        self.augmentation = as_settings(Augmentation, augmentation)

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """{"classification": loss}; the share of clips that are right is observed.

        Raises:
            UserError: the data has no labels, or others than the student has logits for.
        """
        single = bool((batch.labels.sum(1) == 1).all())
        if self.training:
            batch, _ = self.augmentation(batch)
        logits = self.student(batch).logits
        if batch.labels.shape[1] == 0 or logits.shape != batch.labels.shape:
            raise UserError(
                f"the student has logits for {logits.shape[1]} classes, and the data {batch.labels.shape[1]} labels"
            )
        self.observed = {}
        if self.loss == "cross_entropy" and not single:
            raise UserError("--objective.loss cross_entropy: some clips have several labels, or none; binary is wanted")
        if single:
            right = logits.argmax(1) == batch.labels.argmax(1)
            self.observed = {"accuracy": float(right.float().mean())}
            if self.loss != "binary":
                smoothing = self.smoothing if self.training else 0.0
                return {"classification": F.cross_entropy(logits.float(), batch.labels, label_smoothing=smoothing)}
        known = ~batch.labels.isnan()
        return {"classification": F.binary_cross_entropy_with_logits(logits.float()[known], batch.labels[known])}
