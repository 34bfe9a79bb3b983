"""Scores of predictions, exact, class by class.

Letters of shapes: N clips, C classes. `truth` is 1 where a clip has a label, 0 where it has not; `known` is False where
nobody asked, and such a cell counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

METRICS = ("accuracy", "mAP", "AUC", "d_prime", "F1")
_ALL_BUT_ONE = 1 - 1e-9  # an area of 1 would lie infinitely far from one of a half


@dataclass(frozen=True)
class ClassScores:
    """What each class scores. Every array has shape (C,), and NaN where a class cannot be scored.

    Args:
        clips: Clips that have the label.
        recall: Share of those whose highest score is the class.
        average_precision: Area under precision over recall, by steps.
        auc: Area under the receiver's curve: the chance that a clip with the label scores above one without.
    """

    clips: NDArray[np.int64]
    recall: NDArray[np.float64]
    average_precision: NDArray[np.float64]
    auc: NDArray[np.float64]


def class_scores(
    scores: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_] | None = None
) -> ClassScores:
    """Score every class. Arguments have shape (N, C).

    Equal scores share a threshold, as in scikit-learn, so that the order of clips does not matter. A class without a
    clip that has it has no scores (NaN), and one without a clip that has it not has no area under the curve.
    """
    present = truth > 0.5
    if known is not None:
        present = present & known
    ranked = [_rank(scores[:, c], present[:, c], None if known is None else known[:, c]) for c in range(truth.shape[1])]
    clips = present.sum(0)
    highest = scores.argmax(1)
    hit = np.array([(highest[present[:, c]] == c).sum() for c in range(truth.shape[1])])
    recall = np.divide(hit, clips, out=np.full(len(clips), np.nan), where=clips > 0)
    precision, auc = np.array(ranked).T
    return ClassScores(clips, recall, precision, auc)


def _rank(
    scores: NDArray[np.floating], present: NDArray[np.bool_], known: NDArray[np.bool_] | None
) -> tuple[float, float]:
    """Average precision and area under the receiver's curve of one class."""
    if known is not None:
        scores, present = scores[known], present[known]
    positives = int(present.sum())
    negatives = len(present) - positives
    if positives == 0:
        return np.nan, np.nan
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    right = np.cumsum(present[order])[ends]
    wrong = ends + 1 - right
    steps = np.diff(right, prepend=0)
    precision = float((steps * right / (ends + 1)).sum() / positives)
    if negatives == 0:
        return precision, np.nan
    widths = np.diff(wrong, prepend=0)
    return precision, float((widths * (right - steps / 2)).sum() / (positives * negatives))


def accuracy(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Share of clips whose highest score is one of their labels. Arguments (N, C)."""
    return float((truth[np.arange(len(truth)), scores.argmax(1)] > 0.5).mean())


def coarse_accuracy(scores: NDArray[np.floating], truth: NDArray[np.floating], groups: Sequence[str]) -> float:
    """Share of clips whose highest score is in the group of their label, where each clip has one. Arguments (N, C)."""
    names = np.asarray(groups)
    return float((names[scores.argmax(1)] == names[truth.argmax(1)]).mean())


def f1(
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
    threshold: float = 0.0,
) -> float:
    """Mean over classes of 2 hits / (2 hits + misses + false alarms), scores above the threshold counting as a yes.

    Arguments (N, C). A class without a clip that has it counts nowhere.
    """
    asked = np.ones(truth.shape, bool) if known is None else known
    said, present = (scores > threshold) & asked, (truth > 0.5) & asked
    hits, wrong = (said & present).sum(0), (said != present).sum(0)
    scored = present.any(0)
    return _mean(2 * hits[scored] / (2 * hits + wrong)[scored])


def d_prime(auc: float) -> float:
    """Distance, in deviations, of two normal distributions with this area: sqrt(2) times its normal quantile."""
    return float(np.sqrt(2) * NormalDist().inv_cdf(min(max(auc, 1 - _ALL_BUT_ONE), _ALL_BUT_ONE)))


def overall(
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None = None,
    threshold: float = 0.0,
) -> dict[str, float]:
    """Every metric, over the classes that can be scored. Arguments (N, C); `threshold` is that of F1.

    d_prime is that of the mean area, as AudioSet's authors have it.
    """
    classes = class_scores(scores, truth, known)
    area = _mean(classes.auc)
    return {
        "accuracy": accuracy(scores, truth),
        "mAP": _mean(classes.average_precision),
        "AUC": area,
        "d_prime": area if np.isnan(area) else d_prime(area),
        "F1": f1(scores, truth, known, threshold),
    }


def _mean(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def confusion(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.int64]:
    """Clips of class (row) that were taken for class (column), where each clip has one label. Shape (C, C)."""
    classes = truth.shape[1]
    cells = truth.argmax(1) * classes + scores.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
