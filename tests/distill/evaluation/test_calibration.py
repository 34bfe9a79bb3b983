"""Calibration against slow, obvious versions."""

from __future__ import annotations

import numpy as np
import pytest

from distill.evaluation.calibration import (
    best_thresholds,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from distill.evaluation.metrics import f1
from distill.students.decisions import MANY, ONE_OF, probabilities_of

KINDS = [ONE_OF, MANY]


def drawn(kind: str, temperature: float, clips: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn by their probabilities at a temperature."""
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((clips, 4))
    probabilities = probabilities_of(logits / temperature, kind)
    if kind == ONE_OF:
        return logits, np.eye(4)[[random.choice(4, p=row) for row in probabilities]]
    return logits, (random.random(probabilities.shape) < probabilities).astype(float)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_the_labels_is_found(kind: str, temperature: float) -> None:
    logits, truth = drawn(kind, temperature)
    found = fit_temperature(logits, truth, None, kind)
    assert found == pytest.approx(temperature, rel=0.08)
    grid = np.exp(np.linspace(-3, 3, 601))
    losses = [negative_log_likelihood(logits / place, truth, None, kind) for place in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.011)
    before, after = (
        reliability(probabilities_of(logits / divisor, kind), truth, None, kind).error for divisor in (1.0, found)
    )
    assert after < 0.03
    assert temperature == 1.0 or before > 2 * after


def test_labels_that_were_not_annotated_do_not_count() -> None:
    logits, truth = drawn(MANY, 2.0)
    known = np.random.default_rng(1).random(truth.shape) < 0.5
    wrong = np.where(known, truth, 1 - truth)
    assert fit_temperature(logits, wrong, known, MANY) == pytest.approx(2.0, rel=0.08)
    probabilities = probabilities_of(logits / 2, MANY)
    assert reliability(probabilities, wrong, known, MANY).error < 0.03
    assert reliability(probabilities, wrong, known, MANY).counts.sum() == known.sum()
    found = best_thresholds(probabilities, wrong, known)
    for column, threshold in enumerate(found):
        asked = known[:, column]
        expected = best_thresholds(probabilities[asked, column : column + 1], truth[asked, column : column + 1], None)
        assert threshold == expected[0]


def test_a_threshold_has_the_best_f1_of_all() -> None:
    random = np.random.default_rng(2)
    for _ in range(20):
        truth = (random.random((30, 1)) < 0.3).astype(float)
        probabilities = (0.3 * truth + 0.7 * random.random((30, 1))).round(1)  # with equal probabilities
        (threshold,) = best_thresholds(probabilities, truth, None)
        reached = f1((probabilities >= threshold).astype(float), truth, None, 0.5)
        places = np.linspace(0, 1, 401)
        assert reached == max(f1((probabilities >= place).astype(float), truth, None, 0.5) for place in places)
    for constant in (0.0, 1.0):
        assert best_thresholds(random.random((5, 1)), np.full((5, 1), constant), None) == [0.5]


def test_reliability_counts_predictions_in_bins() -> None:
    probabilities = np.array([[0.9, 0.1], [0.92, 0.08], [0.3, 0.7], [0.0, 1.0]])
    truth = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = reliability(probabilities, truth, None, ONE_OF)
    assert found.counts.tolist() == [0] * 10 + [1] + [0] * 2 + [2, 1]
    assert found.confidence[[10, 13, 14]] == pytest.approx([0.7, 0.91, 1.0])
    assert found.frequency[[10, 13, 14]].tolist() == [1.0, 0.5, 1.0]
    assert found.error == pytest.approx((0.3 + 2 * 0.41 + 0) / 4)
    assert reliability(probabilities, truth, None, MANY).counts.sum() == 8
