"""Bootstrap intervals of scores: how much a score depends on the choice of the test clips (Efron 1979).

A resample draws as many test clips as there are, with replacement. It is held as a weight for each clip, the number of
its draws. So every metric is computed once for all resamples, and differences of two encoders are paired. Letters of
shapes: R resamples, N clips, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.metrics import d_prime

RESAMPLES = 1000
_BLOCK = 4_000_000  # comparisons of a clip with a positive clip in one block
_PERCENTILES = (2.5, 97.5)
Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A 95 % interval.

    Args:
        low: The 2.5th percentile.
        high: The 97.5th percentile.
    """

    low: float
    high: float


class Difference(NamedTuple):
    """A difference of two scores on the same clips, with its 95 % interval.

    Args:
        value: The difference.
        low: The 2.5th percentile of the difference over the resamples.
        high: The 97.5th percentile.
    """

    value: float
    low: float
    high: float


def interval_of(samples: Floats) -> Interval:
    """Return the 95 % interval of the scores of resamples (R,). NaN are left out."""
    finite = samples[np.isfinite(samples)]
    low, high = np.percentile(finite, _PERCENTILES) if len(finite) else (np.nan, np.nan)
    return Interval(float(low), float(high))


def difference_of(score: float, other: float, samples: Floats, others: Floats) -> Difference:
    """Return the difference of two scores.

    Args:
        score: First score.
        other: Second score, which is subtracted.
        samples: First score in each resample. Shape (R,).
        others: Second score in the same resamples. Shape (R,).
    """
    return Difference(score - other, *interval_of(samples - others))


def draw_weights(clips: int, seed: int = 0) -> NDArray[np.int16]:
    """Draw resamples of clips: the number of draws of each clip. Shape (RESAMPLES, clips)."""
    generator, weights = np.random.default_rng(seed), np.empty((RESAMPLES, clips), np.int16)
    for row in weights:
        row[:] = np.bincount(generator.integers(0, clips, clips), minlength=clips)
    return weights


def resampled_scores(
    metric: str,
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None,
    weights: NDArray[np.integer],
    threshold: float = 0.0,
) -> Floats:
    """Compute a metric for each resample, as `metrics.overall` does for the repeated clips.

    Args:
        metric: Name of the metric, one of `METRICS`.
        scores: Scores of the clips. Shape (N, C).
        truth: 1 where a clip has a label, otherwise 0. Shape (N, C).
        known: False where a label was not annotated. Shape (N, C). None: all labels were annotated.
        weights: Number of draws of each clip. Shape (R, N).
        threshold: Score above which F1 counts a label as predicted.

    Returns:
        Shape (R,). NaN for a resample without a clip that can be scored.
    """
    if metric == "accuracy":
        hits = truth[np.arange(len(truth)), scores.argmax(1)] > 0.5
        return _ratio(weights.astype(np.float32) @ hits.astype(np.float32), weights.sum(1))
    return mean_over_classes(metric, resampled_classes(metric, scores, truth, known, weights, threshold))


def mean_over_classes(metric: str, classes: Floats) -> Floats:
    """Return the metric of each resample (R,) from that of each class, as `resampled_classes` returns it."""
    means = _mean(classes)
    if metric != "d_prime":
        return means
    return np.array([value if np.isnan(value) else d_prime(float(value)) for value in means])


def resampled_classes(
    metric: str,
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None,
    weights: NDArray[np.integer],
    threshold: float = 0.0,
) -> Floats:
    """Compute a metric of each class for each resample, with the arguments of `resampled_scores`.

    Args:
        metric: "mAP", "AUC", "d_prime" or "F1". For "d_prime" it is the AUC, whose mean d-prime is computed from.
        scores: Scores of the clips. Shape (N, C).
        truth: 1 where a clip has a label, otherwise 0. Shape (N, C).
        known: False where a label was not annotated. Shape (N, C). None: all labels were annotated.
        weights: Number of draws of each clip. Shape (R, N).
        threshold: Score above which F1 counts a label as predicted.

    Returns:
        Shape (R, C). NaN for a class that a resample cannot score.
    """
    annotated = np.ones(truth.shape, bool) if known is None else known
    present = (truth > 0.5) & annotated
    drawn = weights.astype(np.float32)  # a fast product, and exact: the numbers are small
    if metric == "F1":
        predicted = (scores > threshold) & annotated
        hit, wrong, positives = (
            drawn @ cells.astype(np.float32) for cells in (predicted & present, predicted != present, present)
        )
        return np.where(positives > 0, _ratio(2 * hit, 2 * hit + wrong), np.nan)
    ranked = _average_precision if metric == "mAP" else _auc
    columns = [
        ranked(scores[annotated[:, c], c], present[annotated[:, c], c], drawn[:, annotated[:, c]])
        for c in range(truth.shape[1])
    ]
    return np.stack(columns, axis=1)


def _average_precision(
    scores: NDArray[np.floating], present: NDArray[np.bool_], weights: NDArray[np.float32]
) -> Floats:
    """Return the average precision of one class for each resample.

    It is the mean over positive clips of the precision at the score of the clip. No sort is needed: a product with a
    comparison of scores counts the clips at or above each positive clip in all resamples.

    Args:
        scores: Shape (N,).
        present: Whether a clip has the label. Shape (N,).
        weights: Shape (R, N).
    """
    total = np.zeros(len(weights))
    for positives in _blocks(present):
        above = scores[:, None] >= scores[positives]
        hits = weights[:, present] @ above[present].astype(np.float32)
        predicted = weights @ above.astype(np.float32)
        total += (weights[:, positives] * _ratio(hits, predicted, 0)).sum(1)
    return _ratio(total, weights[:, present].sum(1))


def _auc(scores: NDArray[np.floating], present: NDArray[np.bool_], weights: NDArray[np.float32]) -> Floats:
    """Return the area under the ROC curve of one class for each resample, with arguments as `_average_precision`.

    It is the share of pairs of a positive and a negative clip in the right order. Equal scores count half.
    """
    area, others = np.zeros(len(weights)), scores[~present, None]
    for positives in _blocks(present):
        below = (others < scores[positives]) + np.float32(0.5) * (others == scores[positives])
        area += (weights[:, positives] * (weights[:, ~present] @ below)).sum(1, dtype=np.float64)
    return _ratio(area, weights[:, present].sum(1) * weights[:, ~present].sum(1, dtype=np.float64))


def _blocks(present: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Return the rows of the positive clips, in blocks whose comparisons with all clips fit into memory."""
    rows, length = np.flatnonzero(present), max(1, _BLOCK // max(1, len(present)))
    return np.split(rows, range(length, len(rows), length))


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number], otherwise: float = np.nan) -> Floats:
    """Return a quotient; `otherwise` where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, float(otherwise)), where=denominator > 0)


def _mean(values: Floats) -> Floats:
    """Return the mean of each row over the classes that are not NaN. NaN for a row without any."""
    usable = ~np.isnan(values)
    return _ratio(np.where(usable, values, 0).sum(1), usable.sum(1))
