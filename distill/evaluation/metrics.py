"""Exact metrics of predictions, for each class and over all classes.

Letters of shapes: N clips, C classes. `truth` is 1 where a clip has a label, otherwise 0. `known` is False where a
label was not annotated; such a pair of clip and class is left out. `known=None` means that all labels were annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

METRICS = ("accuracy", "mAP", "AUC", "d_prime", "F1")
_MAX_AUC = 1 - 1e-9  # the d-prime of an area of 1 is infinite


@dataclass(frozen=True)
class ClassScores:
    """Scores of each class. Every array has shape (C,); NaN if a class cannot be scored.

    Args:
        clips: Number of clips with the label.
        recall: Share of the clips with the label whose highest score is this class.
        average_precision: Area under the precision-recall curve, as a sum of steps.
        auc: Area under the ROC curve: the probability that a clip with the label has a higher score than one without.
    """

    clips: NDArray[np.int64]
    recall: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    auc: NDArray[np.float64]


def class_scores(
    scores: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_] | None = None
) -> ClassScores:
    """Return the scores of each class. Arguments have shape (N, C).

    Equal scores share a threshold, as in scikit-learn, so the order of clips does not matter. A class without positive
    clips has no scores (NaN). A class without negative clips has no AUC (NaN).
    """
    present = truth > 0.5
    if known is not None:
        present = present & known
    classes = range(truth.shape[1])
    ranked = [_precision_and_auc(scores[:, c], present[:, c], None if known is None else known[:, c]) for c in classes]
    clips = present.sum(0)
    predicted = scores.argmax(1)
    hits = np.array([(predicted[present[:, c]] == c).sum() for c in classes])
    recall = np.divide(hits, clips, out=np.full(len(clips), np.nan), where=clips > 0)
    precision, auc = np.array(ranked).T
    return ClassScores(clips, recall, precision, auc)


def _precision_and_auc(
    scores: NDArray[np.floating], present: NDArray[np.bool_], known: NDArray[np.bool_] | None
) -> tuple[float, float]:
    """Return the average precision and the AUC of one class. Arguments have shape (N,)."""
    if known is not None:
        scores, present = scores[known], present[known]
    positives = int(present.sum())
    negatives = len(present) - positives
    if positives == 0:
        return np.nan, np.nan
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    true_positives = np.cumsum(present[order])[ends]  # at each threshold, from the highest
    false_positives = ends + 1 - true_positives
    steps = np.diff(true_positives, prepend=0)
    precision = float((steps * true_positives / (ends + 1)).sum() / positives)
    if negatives == 0:
        return precision, np.nan
    widths = np.diff(false_positives, prepend=0)
    return precision, float((widths * (true_positives - steps / 2)).sum() / (positives * negatives))


def accuracy(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the share of clips whose highest score is one of their labels. Arguments have shape (N, C)."""
    return float((truth[np.arange(len(truth)), scores.argmax(1)] > 0.5).mean())


def coarse_accuracy(scores: NDArray[np.floating], truth: NDArray[np.floating], groups: Sequence[str]) -> float:
    """Return the share of clips whose highest score is in the group of their label.

    Args:
        scores: Shape (N, C).
        truth: One label in each row. Shape (N, C).
        groups: Group of each class.
    """
    names = np.asarray(groups)
    return float((names[scores.argmax(1)] == names[truth.argmax(1)]).mean())


def f1(
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
    threshold: float = 0.0,
) -> float:
    """Return the F1 score, 2 hits / (2 hits + misses + false alarms), as a mean over classes with positive clips.

    A score above the threshold is a positive prediction. Arguments have shape (N, C).
    """
    annotated = np.ones(truth.shape, bool) if known is None else known
    predicted, present = (scores > threshold) & annotated, (truth > 0.5) & annotated
    hits, errors = (predicted & present).sum(0), (predicted != present).sum(0)
    scored = present.any(0)
    return _mean(2 * hits[scored] / (2 * hits + errors)[scored])


def d_prime(auc: float) -> float:
    """Return d-prime: sqrt(2) times the normal quantile of the AUC."""
    return float(np.sqrt(2) * NormalDist().inv_cdf(min(max(auc, 1 - _MAX_AUC), _MAX_AUC)))


def overall(
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
    threshold: float = 0.0,
) -> dict[str, float]:
    """Return every metric by name, over the classes that can be scored. Arguments have shape (N, C).

    `threshold` is that of F1. d_prime is computed from the mean AUC, as by AudioSet's authors.
    """
    classes = class_scores(scores, truth, known)
    auc = _mean(classes.auc)
    return {
        "accuracy": accuracy(scores, truth),
        "mAP": _mean(classes.average_precision),
        "AUC": auc,
        "d_prime": auc if np.isnan(auc) else d_prime(auc),
        "F1": f1(scores, truth, known, threshold),
    }


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if there is none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def confusion(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the confusion matrix (C, C) of clips with one label: rows are true classes, columns predicted classes."""
    classes = truth.shape[1]
    cells = truth.argmax(1) * classes + scores.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
