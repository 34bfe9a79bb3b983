"""Scores of a classifier on labelled clips: the metrics of the field, over all classes and of each, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
class FoldScores:
    """Scores of one fold, by the classifier that did not learn from it.

    Args:
        name: Name of the fold.
        clips: Number of scored clips.
        metrics: Values by name, as those of all clips.
    """

    name: str
    clips: int
    metrics: dict[str, float]


class OverFolds(NamedTuple):
    """A metric over the folds.

    Args:
        mean: Mean of the folds.
        deviation: Standard deviation of the folds, with n - 1 in the denominator; NaN for one fold.
    """

    mean: float
    deviation: float


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
        folds: Scores of each fold; empty unless each clip was scored by the classifier of its fold.
        over_folds: Mean and standard deviation over the folds of each metric.
    """

    model: str
    data: str
    part: str
    kind: str
    clips: int
    metrics: dict[str, float]
    intervals: dict[str, Interval]
    classes: tuple[ClassScore, ...]
    folds: tuple[FoldScores, ...] = ()
    over_folds: dict[str, OverFolds] = field(default_factory=dict)

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
    logits: NDArray[np.float32],
    labels: Labels,
    kind: str,
    thresholds: NDArray[np.floating],
    named: Mapping[str, str],
    folds: Sequence[str] = (),
) -> Evaluation:
    """Score logits.

    Args:
        logits: Calibrated logits. Shape (N, C).
        labels: Labels of the clips.
        kind: "one of" or "many".
        thresholds: Probability from which on a class is decided for. Shape (C,), or (N, C) if they differ between
            clips. Not used for "one of".
        named: Values of `model`, `data` and `part`.
        folds: Names of the folds that are also scored alone; `labels.parts` has those of the clips.
    """
    truth, known = labels.truth, labels.known
    thresholds = np.broadcast_to(thresholds, logits.shape)
    decided = decide(probabilities_of(logits, kind), kind, thresholds).astype(np.float32)
    weights = draw_weights(len(truth))
    resamples = {
        "F1": resampled_classes("F1", decided, truth, known, weights, _DECIDED),
        "mAP": resampled_classes("mAP", logits, truth, known, weights),
        "AUC": (areas := resampled_classes("AUC", logits, truth, known, weights)),
        "d_prime": areas,
    }
    intervals = {name: interval_of(mean_over_classes(name, values)) for name, values in resamples.items()}
    if labels.single:
        intervals["accuracy"] = interval_of(resampled_scores("accuracy", logits, truth, known, weights))
    parts = np.array(labels.parts)
    alone = tuple(
        FoldScores(fold, int((parts == fold).sum()), _metrics(logits, decided, labels, kind, parts == fold))
        for fold in folds
        if fold in labels.parts
    )
    return Evaluation(
        kind=kind,
        clips=len(truth),
        metrics=_metrics(logits, decided, labels, kind, np.ones(len(truth), bool)),
        intervals=intervals,
        classes=_by_class(logits, decided, labels, resamples),
        folds=alone,
        over_folds=_over_folds(alone),
        **named,
    )


def _metrics(
    logits: NDArray[np.float32], decided: NDArray[np.float32], labels: Labels, kind: str, rows: NDArray[np.bool_]
) -> dict[str, float]:
    """Return all metrics of the clips at `rows` (N,) by name. `decided` (N, C) is 1 for the chosen classes."""
    truth, known = labels.truth[rows], None if labels.known is None else labels.known[rows]
    chosen = overall(decided[rows], truth, known, _DECIDED)["F1"]
    metrics = {**overall(logits[rows], truth, known), "F1": chosen}
    if not labels.single:
        del metrics["accuracy"]
    metrics["calibration_error"] = reliability(probabilities_of(logits[rows], kind), truth, known, kind).error
    return metrics


def _over_folds(folds: Sequence[FoldScores]) -> dict[str, OverFolds]:
    """Return mean and standard deviation of each metric over the folds."""
    values = {name: np.array([fold.metrics[name] for fold in folds]) for fold in folds[:1] for name in fold.metrics}
    return {
        name: OverFolds(float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else float("nan"))
        for name, scores in values.items()
    }


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
