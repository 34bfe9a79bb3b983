"""Bootstrap intervals of scores: how much a score depends on the choice of the test clips (Efron 1979).

A resample draws as many test clips as there are, with replacement. It is held as a weight for each clip, the number of
its draws. So every metric is computed once for all resamples, and differences of two encoders are paired. Letters of
shapes: R resamples, N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.evaluation.metrics import d_prime

RESAMPLES = 1000
_BLOCK = 4_000_000  # weights in one block: R x N of one class
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


def draw_weights(clips: int, seed: int = 0) -> NDArray[np.int64]:
    """Draw resamples of clips: the number of draws of each clip. Shape (RESAMPLES, clips)."""
    generator = np.random.default_rng(seed)
    return np.stack([np.bincount(generator.integers(0, clips, clips), minlength=clips) for _ in range(RESAMPLES)])


def resampled_scores(
    metric: str,
    scores: NDArray[np.floating],
    truth: NDArray[np.floating],
    known: NDArray[np.bool_] | None,
    weights: NDArray[np.int64],
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
    annotated = np.ones(truth.shape, bool) if known is None else known
    present = (truth > 0.5) & annotated
    if metric == "accuracy":
        hits = truth[np.arange(len(truth)), scores.argmax(1)] > 0.5
        return _ratio(weights @ hits, weights.sum(1))
    if metric == "F1":
        predicted = (scores > threshold) & annotated
        hit, wrong, positives = (weights @ cells for cells in (predicted & present, predicted != present, present))
        return _mean(np.where(positives > 0, _ratio(2 * hit, 2 * hit + wrong), np.nan))
    ranked = _average_precision if metric == "mAP" else _auc
    columns = [
        _in_blocks(ranked, scores[annotated[:, c], c], present[annotated[:, c], c], weights[:, annotated[:, c]])
        for c in range(truth.shape[1])
    ]
    values = _mean(np.stack(columns, axis=1))
    if metric == "d_prime":
        return np.array([value if np.isnan(value) else d_prime(float(value)) for value in values])
    return values


def _in_blocks(
    function: Callable[[NDArray[np.bool_], NDArray[np.int64], Floats], Floats],
    scores: NDArray[np.floating],
    present: NDArray[np.bool_],
    weights: NDArray[np.int64],
) -> Floats:
    """Compute a metric of one class for each resample, in blocks that fit into memory. Return (R,)."""
    if not present.any():
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores share a threshold
    rows = max(1, _BLOCK // len(scores))
    blocks = (weights[first : first + rows, order] for first in range(0, len(weights), rows))
    return np.concatenate([function(present[order], ends, block.astype(np.float64)) for block in blocks])


def _average_precision(present: NDArray[np.bool_], ends: NDArray[np.int64], weights: Floats) -> Floats:
    """Return the average precision of clips in descending order of their scores, for each row of weights (R, N)."""
    hits = np.cumsum(weights * present, axis=1)[:, ends]
    predicted = np.cumsum(weights, axis=1)[:, ends]
    return _ratio((np.diff(hits, prepend=0, axis=1) * _ratio(hits, predicted, 0)).sum(1), hits[:, -1])


def _auc(present: NDArray[np.bool_], ends: NDArray[np.int64], weights: Floats) -> Floats:
    """Return the area under the ROC curve of clips in descending order, for each row of weights (R, N)."""
    hits = np.cumsum(weights * present, axis=1)[:, ends]
    misses = np.cumsum(weights * ~present, axis=1)[:, ends]
    area = (np.diff(misses, prepend=0, axis=1) * (hits - np.diff(hits, prepend=0, axis=1) / 2)).sum(1)
    return _ratio(area, hits[:, -1] * misses[:, -1])


def _ratio(numerator: NDArray[np.number], denominator: NDArray[np.number], otherwise: float = np.nan) -> Floats:
    """Return a quotient; `otherwise` where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, float(otherwise)), where=denominator > 0)


def _mean(values: Floats) -> Floats:
    """Return the mean of each row over the classes that are not NaN. NaN for a row without any."""
    usable = ~np.isnan(values)
    return _ratio(np.where(usable, values, 0).sum(1), usable.sum(1))
