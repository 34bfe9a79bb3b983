"""Calibration of a classifier on held-out clips: temperature, thresholds, and how far probabilities can be trusted.

Letters of shapes: N clips, C classes, B bins. `truth` and `known` are those of `metrics`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.students.decisions import DEFAULT_THRESHOLD, ONE_OF, log_softmax, probabilities_of
from distill.students.heads import Classifier

Floats = NDArray[np.float64]
Known = NDArray[np.bool_] | None
_BINS = 15  # as in Guo et al. 2017
_TEMPERATURES = (0.05, 20.0)  # a temperature outside of them is that of very few clips
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40


class Reliability(NamedTuple):
    """Probabilities and how often they come true, in bins of equal width. Every array has shape (B,).

    For "one of", a prediction is the most probable class of a clip; for "many", each class of each clip.

    Args:
        confidence: Mean probability of the predictions of a bin; NaN in an empty bin.
        frequency: Share of them that are true; NaN in an empty bin.
        counts: Number of predictions of each bin.
        error: Expected calibration error: mean difference of both, weighted by `counts`; NaN without predictions.
    """

    confidence: Floats
    frequency: Floats
    counts: NDArray[np.int64]
    error: float


class Calibrated(NamedTuple):
    """A classifier that was calibrated.

    Args:
        classifier: The classifier, with temperature and thresholds.
        clips: Number of held-out clips.
        before: Reliability on these clips without the temperature.
        after: Reliability on the same clips with it.
    """

    classifier: Classifier
    clips: int
    before: Reliability
    after: Reliability

    def line(self) -> str:
        """Return the result in words."""
        if not self.clips:
            return "not calibrated: no clips are held out"
        return (
            f"calibrated on {self.clips:,} held-out clips: temperature {self.classifier.temperature:.3g}, calibration "
            f"error {self.before.error:.3f} before, {self.after.error:.3f} after on the same clips"
        )


def calibrate(
    classifier: Classifier, logits: NDArray[np.floating], truth: NDArray[np.floating], known: Known
) -> Calibrated:
    """Return a classifier with the temperature and the thresholds that are best on held-out clips.

    Args:
        classifier: Classifier without calibration.
        logits: Its logits for clips that it was not trained on. Shape (N, C). Without clips, it is not changed.
        truth: 1 where a clip has a label, otherwise 0. Shape (N, C).
        known: False where a label was not annotated. Shape (N, C). None: all labels were annotated.
    """
    kind = classifier.kind
    temperature = fit_temperature(logits, truth, known, kind) if len(logits) else 1.0
    before, after = (probabilities_of(logits / divisor, kind) for divisor in (1.0, temperature))
    thresholds = tuple(best_thresholds(after, truth, known).tolist()) if len(logits) else ()
    changed = replace(classifier, temperature=temperature, thresholds=thresholds)
    return Calibrated(changed, len(logits), *(reliability(values, truth, known, kind) for values in (before, after)))


def cross_calibrated(
    logits: NDArray[np.floating], truth: NDArray[np.floating], known: Known, kind: str, folds: NDArray[np.str_]
) -> tuple[NDArray[np.floating], Floats]:
    """Calibrate the clips of each fold by those of the others.

    Args:
        logits: Logits of each clip without calibration, by the classifier that did not learn from it. Shape (N, C).
        truth: 1 where a clip has a label, otherwise 0. Shape (N, C).
        known: False where a label was not annotated. Shape (N, C). None: all labels were annotated.
        kind: "one of" or "many".
        folds: Name of the fold of each clip. Shape (N,).

    Returns:
        The calibrated logits, and the threshold of each class for each clip. Both have shape (N, C).
    """
    calibrated, thresholds = logits.copy(), np.full(logits.shape, DEFAULT_THRESHOLD)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        asked = None if known is None else known[others]
        found = calibrate(Classifier(kind), logits[others], truth[others], asked).classifier
        calibrated[own] = logits[own] / found.temperature
        thresholds[own] = found.thresholds or DEFAULT_THRESHOLD
    return calibrated, thresholds


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.floating], known: Known, kind: str) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al. 2017, section 4.2).

    The loss is convex in the inverse of the temperature, so it has one minimum, which is found by golden section.
    """
    low, high = (math.log(limit) for limit in _TEMPERATURES)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        losses = [negative_log_likelihood(logits / math.exp(place), truth, known, kind) for place in (left, right)]
        low, high = (low, right) if losses[0] <= losses[1] else (left, high)
    return math.exp((low + high) / 2)


def negative_log_likelihood(
    logits: NDArray[np.floating], truth: NDArray[np.floating], known: Known, kind: str
) -> float:
    """Return the mean negative log-likelihood of clips ("one of") or of the annotated labels ("many")."""
    wide = logits.astype(np.float64)
    if kind == ONE_OF:
        return float(-(log_softmax(wide) * truth).sum(1).mean())
    losses = np.logaddexp(0, wide) - wide * truth
    return float((losses if known is None else losses[known]).mean())


def best_thresholds(probabilities: NDArray[np.floating], truth: NDArray[np.floating], known: Known) -> Floats:
    """Return the threshold of each class (C,) with the best F1 on these clips.

    It lies in the middle between two probabilities. A class that no clip has, or every clip, gets 0.5.
    """
    annotated = np.ones(truth.shape, bool) if known is None else known
    columns = zip(probabilities.T, truth.T, annotated.T, strict=True)
    return np.array([_best_threshold(values[asked], labels[asked] > 0.5) for values, labels, asked in columns])


def reliability(
    probabilities: NDArray[np.floating], truth: NDArray[np.floating], known: Known, kind: str
) -> Reliability:
    """Compare probabilities (N, C) with what is true."""
    if kind == ONE_OF:
        best = probabilities.argmax(1)
        rows = np.arange(len(best))
        confidence, came_true = probabilities[rows, best], truth[rows, best] > 0.5
    else:
        annotated = np.ones(truth.shape, bool) if known is None else known
        confidence, came_true = probabilities[annotated], truth[annotated] > 0.5
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    sums, hits = (np.bincount(bins, weights, _BINS) for weights in (confidence, came_true.astype(np.float64)))
    filled = counts > 0
    means, shares = (np.divide(total, counts, out=np.full(_BINS, np.nan), where=filled) for total in (sums, hits))
    error = float(np.abs(sums - hits).sum() / counts.sum()) if len(bins) else math.nan
    return Reliability(means, shares, counts, error)


def _best_threshold(probabilities: NDArray[np.floating], present: NDArray[np.bool_]) -> float:
    """Return the threshold of one class with the best F1, the highest of several. Arguments have shape (N,)."""
    if not present.any() or present.all():
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    ranked = probabilities[order]
    accepted = np.arange(1, len(ranked) + 1)
    scores = 2 * np.cumsum(present[order]) / (accepted + present.sum())
    below = np.append(ranked[1:], 0.0)
    scores[ranked == below] = -1  # a threshold cannot divide equal probabilities
    best = int(scores.argmax())
    return float((ranked[best] + below[best]) / 2)
