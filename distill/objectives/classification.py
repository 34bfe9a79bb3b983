"""Training on labels: HEAR's third stage, and any student, which gets a head if it has no logits."""

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
from distill.objectives.parts.observed import observe
from distill.students.decisions import MANY, ONE_OF
from distill.students.heads import Classifier, Head
from distill.students.student import Student

LABEL_LOSSES = ("auto", "cross_entropy", "binary")
_SEVERAL_LABELS = "--objective.loss cross_entropy: some clips have several labels, or none; use binary"


def loss_for(manifest: Manifest) -> str:
    """Return the loss that "auto" stands for: cross entropy if each clip has exactly one label, otherwise binary."""
    return "cross_entropy" if all(len(row.labels) == 1 and not row.annotated for row in manifest.rows) else "binary"


class Classification(Objective):
    """Classification of labelled clips: cross entropy if each clip has one label, otherwise binary cross entropy.

    A label that was not annotated is NaN in `AudioBatch.labels`. It does not contribute to the loss.

    Args:
        student: Encoder with logits of its own, such as `hear_classifier`; or any other, which gets a head for the
            classes `student.labels`: layer normalisation of the clip embedding, then one linear layer. Its
            `classifier` is replaced, since training starts from logits that are not calibrated.
        augmentation: Changes to the input in training. Mixup mixes the labels too.
        loss: "cross_entropy"; "binary": each class is a separate decision; or "auto": `fit` chooses, given all data
            (cross entropy if each clip has one label). Without `fit`, each batch decides.
        smoothing: Label smoothing of the cross entropy: share of the target spread over all classes. 0 disables it.

    Raises:
        UserError: the loss is unknown, `smoothing` is not in [0, 1), the student has no classes, or its own logits
            are of another number of classes.
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
        student.classifier = Classifier(MANY if loss == "binary" else ONE_OF, self._head_to_train(student))
        self.head = student.classifier.head  # a child of the objective, which trains it

    @staticmethod
    def _head_to_train(student: Student) -> Head | None:
        """Return the head of the student, or a new one. None: the network has logits of its own."""
        classes = len(student.labels)
        if own := student.own_logits:
            if classes and own != classes:
                raise UserError(f"--student.classes {own}: the data has {classes} classes; omit the option")
            return None
        if not classes:
            raise UserError("the student has no logits; name its classes first (student.labels), in their order")
        before = student.classifier.head if student.classifier else None
        return before if isinstance(before, Head) else Head(student.clip_dim, classes)

    @classmethod
    def options_for(cls, options: Mapping[str, Any], manifest: Manifest) -> dict[str, Any]:
        """Return the options, with the loss "auto" replaced by the one that fits the labels.

        Raises:
            UserError: the data has no labels, all clips have the same label, or the loss does not fit the labels.
        """
        fitting, names = loss_for(manifest), manifest.classes
        if not names or (len(names) == 1 and fitting == "cross_entropy"):
            found = f"all clips have the label {names[0]!r}" if names else "no clip has a label"
            raise UserError(
                f"--objective classification: {found} in --data {manifest.source}; a column of labels or a sub-folder "
                "for each class is required"
            )
        chosen = fitting if options.get("loss", "auto") == "auto" else options["loss"]
        if chosen == "cross_entropy" != fitting:
            raise UserError(_SEVERAL_LABELS)
        return {**options, "loss": chosen}

    def forward(self, batch: AudioBatch) -> dict[str, Tensor]:
        """Return {"classification": loss} of one batch; observe the accuracy if each clip has one label.

        Raises:
            UserError: the number of logits is not the number of classes; or the loss is cross entropy, and a clip
                has several labels or none.
        """
        one_label_each = bool((batch.host_labels.sum(1) == 1).all())
        if self.training:
            batch, _ = self.augmentation(batch)
        logits = self.student(batch).logits
        if batch.labels.shape[1] == 0 or logits.shape != batch.labels.shape:
            raise UserError(
                f"the student has logits for {logits.shape[1]} classes, and the data has {batch.labels.shape[1]}"
            )
        self.observed = {}
        if self.loss == "cross_entropy" and not one_label_each:
            raise UserError(_SEVERAL_LABELS)
        if one_label_each:
            correct = logits.argmax(1) == batch.labels.argmax(1)
            self.observed = {"accuracy": observe(float, correct.float().mean())}
            if self.loss != "binary":
                smoothing = self.smoothing if self.training else 0.0
                return {"classification": F.cross_entropy(logits.float(), batch.labels, label_smoothing=smoothing)}
        known = ~batch.labels.isnan()
        targets = batch.labels.masked_fill(~known, 0)  # an index by `known` would wait for the device
        total = F.binary_cross_entropy_with_logits(logits.float(), targets, known.float(), reduction="sum")
        return {"classification": total / known.sum().clamp(min=1)}
