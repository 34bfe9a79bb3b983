"""Training on labels: HEAR's third stage, and any student with a classification head."""

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

LABEL_LOSSES = ("auto", "cross_entropy", "binary")


def loss_for(manifest: Manifest) -> str:
    """Return the loss that "auto" stands for: cross entropy if each clip has exactly one label, otherwise binary."""
    return "cross_entropy" if all(len(row.labels) == 1 and not row.annotated for row in manifest.rows) else "binary"


class Classification(Objective):
    """Classification of labelled clips: cross entropy if each clip has one label, otherwise binary cross entropy.

    A label that was not annotated is NaN in `AudioBatch.labels`. It does not contribute to the loss.

    Args:
        student: Encoder with logits, such as `hear_classifier`.
        augmentation: Changes to the input in training. Mixup mixes the labels too.
        loss: "cross_entropy"; "binary": each class is a separate decision; or "auto": `fit` chooses, given all data
            (cross entropy if each clip has one label). Without `fit`, each batch decides.
        smoothing: Label smoothing of the cross entropy: share of the target spread over all classes. 0 disables it.

    Raises:
        UserError: the loss is unknown, or `smoothing` is not in [0, 1).
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
        require_one_of("--objective.loss", loss, LABEL_LOSSES)
        if not 0 <= smoothing < 1:
            raise UserError(f"--objective.smoothing {smoothing}: must be at least 0 and below 1")
        self.loss, self.smoothing = loss, smoothing
        self.augmentation = as_settings(Augmentation, augmentation)

    @classmethod
    def options_for(cls, options: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """Return the options, with the loss "auto" replaced by the one that fits the labels."""
        chosen = loss_for(manifest) if options.get("loss", "auto") == "auto" else options["loss"]
        return {**options, "loss": chosen}

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return {"classification": loss} of one batch; observe the accuracy if each clip has one label.

        Raises:
            UserError: the number of logits is not the number of classes; or the loss is cross entropy, and a clip
                has several labels or none.
        """
        one_label_each = bool((batch.labels.sum(1) == 1).all())
        if self.training:
            batch, _ = self.augmentation(batch)
        logits = self.student(batch).logits
        if batch.labels.shape[1] == 0 or logits.shape != batch.labels.shape:
            raise UserError(
                f"the student has logits for {logits.shape[1]} classes, and the data has {batch.labels.shape[1]}"
            )
        self.observed = {}
        if self.loss == "cross_entropy" and not one_label_each:
            raise UserError("--objective.loss cross_entropy: some clips have several labels, or none; use binary")
        if one_label_each:
            correct = logits.argmax(1) == batch.labels.argmax(1)
            self.observed = {"accuracy": float(correct.float().mean())}
            if self.loss != "binary":
                smoothing = self.smoothing if self.training else 0.0
                return {"classification": F.cross_entropy(logits.float(), batch.labels, label_smoothing=smoothing)}
        known = ~batch.labels.isnan()
        return {"classification": F.binary_cross_entropy_with_logits(logits.float()[known], batch.labels[known])}
