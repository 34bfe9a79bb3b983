"""Scores of a classifier on labelled clips: the metrics of the field, over all classes and of each, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.bootstrap import (
    Floats,
    Interval,
    draw_weights,
    interval_of,
    mean_over_classes,
    resampled_classes,
    resampled_scores,
)
from distill.evaluation.calibration import reliability
from distill.evaluation.metrics import class_scores, confusion, d_prime, overall
from distill.evaluation.scoring import Labels
from distill.students.decisions import ONE_OF, probabilities_of

_DECIDED = 0.5  # between 0 and 1, the decisions


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class. NaN: the clips do not permit the score.

    Args:
        name: Name of the class.
        clips: Number of clips that have it.
        precision: Share of the clips with the decision that have the class.
        recall: Share of the clips of the class with the decision.
        f1: Harmonic mean of precision and recall.
        f1_interval: Its 95 % bootstrap interval.
        average_precision: Area under the precision-recall curve, as a sum of steps.
        average_precision_interval: Its 95 % bootstrap interval.
        auc: Area under the ROC curve.
        auc_interval: Its 95 % bootstrap interval.
        d_prime: sqrt(2) times the normal quantile of the AUC.
    """

    name: str
    clips: int
    precision: float
    recall: float
    f1: float
    f1_interval: Interval
    average_precision: float
    average_precision_interval: Interval
    auc: float
    auc_interval: Interval
    d_prime: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a trained classifier on labelled clips.

    Args:
        model: Path or name of the student.
        data: Name of the folder or table.
        part: Clips that were scored, in words, such as "the part 'test'".
        kind: "one of" or "many": how the classifier was trained.
        clips: Number of scored clips.
        metrics: Values by name: mAP, AUC and d_prime as means over the classes that occur; F1 of the decisions, as a
            mean over them; accuracy if each clip has one label; calibration_error of the probabilities.
        intervals: 95 % bootstrap interval over the clips of each metric but calibration_error.
        classes: Scores of each class.
    """

    model: str
    data: str
    part: str
    kind: str
    clips: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    classes: tuple[ClassScore, ...]

    @property
    def absent(self) -> list[str]:
        """Classes that no scored clip has. They are left out of the means."""
        return [score.name for score in self.classes if not score.clips]


def decide(probabilities: NDArray[np.floating], kind: str, thresholds: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which classes (N, C) are decided for: the most probable one, or all that reach their threshold (C,)."""
    if kind == ONE_OF:
        return np.arange(probabilities.shape[1]) == probabilities.argmax(1)[:, None]
    return probabilities >= thresholds


def evaluate_logits(
    logits: NDArray[np.float32], labels: Labels, kind: str, thresholds: NDArray[np.floating], named: Mapping[str, str]
) -> Evaluation:
    """Score logits.

    Args:
        logits: Calibrated logits. Shape (N, C).
        labels: Labels of the clips.
        kind: "one of" or "many".
        thresholds: Probability from which on a class is decided for. Shape (C,). Not used for "one of".
        named: Values of `model`, `data` and `part`.
    """
    truth, known = labels.truth, labels.known
    probabilities = probabilities_of(logits, kind)
    decided = decide(probabilities, kind, thresholds).astype(np.float32)
    weights = draw_weights(len(truth))
    metrics = {**overall(logits, truth, known), "F1": overall(decided, truth, known, _DECIDED)["F1"]}
    resamples = {
        "F1": resampled_classes("F1", decided, truth, known, weights, _DECIDED),
        "mAP": resampled_classes("mAP", logits, truth, known, weights),
        "AUC": (areas := resampled_classes("AUC", logits, truth, known, weights)),
        "d_prime": areas,
    }
    intervals = {name: interval_of(mean_over_classes(name, values)) for name, values in resamples.items()}
    if labels.single:
        intervals["accuracy"] = interval_of(resampled_scores("accuracy", logits, truth, known, weights))
    else:
        del metrics["accuracy"]
    metrics["calibration_error"] = reliability(probabilities, truth, known, kind).error
    classes = _by_class(logits, decided, labels, resamples)
    return Evaluation(kind=kind, clips=len(truth), metrics=metrics, intervals=intervals, classes=classes, **named)


def confusion_of(logits: NDArray[np.float32], labels: Labels) -> NDArray[np.int64] | None:
    """Return the confusion matrix (C, C), rows are true classes; None if a clip has several labels or none."""
    return confusion(logits, labels.truth) if labels.single else None


def _by_class(
    logits: NDArray[np.float32], decided: NDArray[np.float32], labels: Labels, resamples: Mapping[str, Floats]
) -> tuple[ClassScore, ...]:
    ranked = class_scores(logits, labels.truth, labels.known)
    annotated = np.ones(labels.truth.shape, bool) if labels.known is None else labels.known
    present, chosen = (labels.truth > 0.5) & annotated, (decided > _DECIDED) & annotated
    hits = (present & chosen).sum(0)

    def ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Floats:
        return np.divide(part, whole, out=np.full(len(part), np.nan), where=present.any(0) & (whole > 0))

    precision, recall = ratio(hits, chosen.sum(0)), ratio(hits, present.sum(0))
    f1 = ratio(2 * hits, chosen.sum(0) + present.sum(0))
    return tuple(
        ClassScore(
            name, int(ranked.clips[c]), float(precision[c]), float(recall[c]),
            float(f1[c]), interval_of(resamples["F1"][:, c]),
            float(ranked.average_precision[c]), interval_of(resamples["mAP"][:, c]),
            float(ranked.auc[c]), interval_of(resamples["AUC"][:, c]),
            float("nan") if np.isnan(ranked.auc[c]) else d_prime(float(ranked.auc[c])),
        )
        for c, name in enumerate(labels.names)
    )  # fmt: skip
