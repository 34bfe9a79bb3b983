"""The scores of labelled clips by one classifier, or by one for each fold, for their evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.dataset import Crop, Seconds
from distill.data.clips.manifest import Manifest, Row
from distill.data.store.format import SetAside
from distill.evaluation.calibration import cross_calibrated
from distill.evaluation.scoring import Labels, labels_of
from distill.run.classifying import Scorer


@dataclass(frozen=True)
class Scored:
    """Labelled clips with their scores.

    Args:
        rows: The usable clips.
        logits: Their logits. Shape (clips, classes).
        thresholds: Probability from which on each class counts as present. Shape (clips, classes).
        classes: Names of the classes.
        kind: "one of" or "many".
        set_aside: Unusable clips.
        seconds: Sound of the clips.
    """

    rows: tuple[Row, ...]
    logits: NDArray[np.float32]
    thresholds: NDArray[np.float64]
    classes: tuple[str, ...]
    kind: str
    set_aside: tuple[SetAside, ...]
    seconds: Seconds

    @property
    def labels(self) -> Labels:
        """Labels of the usable clips. Raises UserError for one that is no class."""
        return labels_of(self.rows, self.classes)

    def calibrated_by_folds(self) -> Scored:
        """Return these scores, which need no calibration, with the calibration of each fold on the other folds.

        That of a student was fitted on the very clips that it scores here, which would be too good.
        """
        labels = self.labels
        folds = np.array(labels.parts)
        logits, thresholds = cross_calibrated(self.logits, labels.truth, labels.known, self.kind, folds)
        return Scored(self.rows, logits, thresholds, self.classes, self.kind, self.set_aside, self.seconds)


def score_clips(scorer: Scorer, manifest: Manifest, crop: Crop, calibrated: bool = True) -> Scored:
    """Score clips by one classifier.

    Args:
        scorer: The classifier.
        manifest: The clips.
        crop: Part of each clip that is scored.
        calibrated: Whether the logits are divided by the temperature of the classifier.
    """
    rows, parts, aside, seconds = list[int](), list[NDArray[np.float32]](), list[SetAside](), Seconds()
    for batch in scorer.scores(manifest, crop, "evaluate"):
        rows += batch.rows
        parts.append(batch.logits)
        aside += batch.set_aside
        seconds = seconds.plus(batch.seconds)
    factor = np.float32(1.0 if calibrated else scorer.classifier.temperature)
    logits, usable = np.concatenate(parts) * factor, tuple(manifest.rows.take(np.array(rows, np.int64)))
    thresholds = np.broadcast_to(scorer.thresholds, logits.shape)
    return Scored(usable, logits, thresholds, scorer.student.labels, scorer.classifier.kind, tuple(aside), seconds)


def joined(parts: Sequence[Scored]) -> Scored:
    """Return the clips of several parts, which have the same classes, as one."""
    seconds = Seconds()
    for part in parts:
        seconds = seconds.plus(part.seconds)
    return Scored(
        tuple(row for part in parts for row in part.rows),
        np.concatenate([part.logits for part in parts]),
        np.concatenate([part.thresholds for part in parts]),
        parts[0].classes,
        parts[0].kind,
        tuple(clip for part in parts for clip in part.set_aside),
        seconds,
    )
