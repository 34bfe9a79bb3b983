"""Scores of a classifier against those of its single classes and of repeated clips."""

from __future__ import annotations

import numpy as np
import pytest

from distill.evaluation.classified import confusion_of, decide, evaluate_logits
from distill.evaluation.metrics import d_prime
from distill.evaluation.scoring import Labels
from distill.students.decisions import MANY, ONE_OF, probabilities_of

NAMED = {"model": "m", "data": "d", "part": "all clips"}
NAMES = ("a", "b", "c", "d")


def clips(kind: str) -> tuple[np.ndarray, Labels]:
    """Clips of three of four classes."""
    random = np.random.default_rng(0)
    truth = np.eye(4)[random.integers(0, 3, 60)] if kind == ONE_OF else (random.random((60, 4)) < 0.3).astype(float)
    truth[:, 3] = 0
    logits = (2 * truth + random.standard_normal((60, 4))).astype(np.float32)
    return logits, Labels(NAMES, truth.astype(np.float32), None, ("",) * 60)


def slow_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    return float(np.mean([truth[scores >= score].mean() for score in scores[truth == 1]]))


def slow_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    return float((scores[truth == 1][:, None] > scores[truth == 0]).mean())


def slow_precision(truth: np.ndarray, chosen: np.ndarray) -> float:
    return float(truth[chosen == 1].mean())


def slow_f1(truth: np.ndarray, chosen: np.ndarray) -> float:
    precision, recall = slow_precision(truth, chosen), slow_precision(chosen, truth)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("kind", [ONE_OF, MANY])
def test_every_metric_is_that_of_its_definition(kind: str) -> None:
    logits, labels = clips(kind)
    thresholds = np.array([0.3, 0.5, 0.6, 0.5])
    found = evaluate_logits(logits, labels, kind, thresholds, NAMED)
    truth = labels.truth[:, :3]
    chosen = (
        np.eye(4)[logits.argmax(1)] if kind == ONE_OF else (probabilities_of(logits, MANY) >= thresholds).astype(float)
    )[:, :3]
    columns = {"average_precision": slow_average_precision, "auc": slow_auc}
    for number, score in enumerate(found.classes[:3]):
        for name, function in columns.items():
            assert getattr(score, name) == pytest.approx(function(truth[:, number], logits[:, number]))
        assert score.precision == pytest.approx(slow_precision(truth[:, number], chosen[:, number]))
        assert score.recall == pytest.approx(slow_precision(chosen[:, number], truth[:, number]))
        assert score.f1 == pytest.approx(slow_f1(truth[:, number], chosen[:, number]))
        assert score.d_prime == pytest.approx(d_prime(score.auc))
        for value, (low, high) in (
            (score.f1, score.f1_interval),
            (score.average_precision, score.average_precision_interval),
            (score.auc, score.auc_interval),
        ):
            assert low < value < high
    means = {"mAP": "average_precision", "AUC": "auc", "F1": "f1"}
    for metric, name in means.items():
        expected = np.mean([getattr(score, name) for score in found.classes[:3]])
        assert found.metrics[metric] == pytest.approx(expected)
    assert ("accuracy" in found.metrics) == (kind == ONE_OF)
    if kind == ONE_OF:
        assert found.metrics["accuracy"] == (logits.argmax(1) == labels.truth.argmax(1)).mean()
    assert found.intervals.keys() == found.metrics.keys() - {"calibration_error"}
    assert all(low < found.metrics[name] < high for name, (low, high) in found.intervals.items())


def test_a_class_that_does_not_occur_has_no_score() -> None:
    logits, labels = clips(ONE_OF)
    found = evaluate_logits(logits, labels, ONE_OF, np.full(4, 0.5), NAMED)
    assert found.absent == ["d"]
    last = found.classes[3]
    assert last.clips == 0
    assert np.isnan([last.precision, last.recall, last.f1, last.average_precision, last.auc, last.d_prime]).all()
    without = evaluate_logits(
        logits[:, :3], Labels(NAMES[:3], labels.truth[:, :3], None, labels.parts), ONE_OF, np.full(3, 0.5), NAMED
    )
    assert found.metrics["mAP"] == without.metrics["mAP"]


def test_one_class_is_chosen_or_all_that_reach_their_threshold() -> None:
    probabilities, thresholds = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]), np.array([0.2, 0.6, 0.3])
    assert decide(probabilities, ONE_OF, thresholds).tolist() == [[False, True, False], [True, False, False]]
    assert decide(probabilities, MANY, thresholds).tolist() == [[True, False, True], [True, False, True]]


def test_only_clips_with_one_label_have_a_confusion_matrix() -> None:
    logits, labels = clips(ONE_OF)
    counts = confusion_of(logits, labels)
    assert counts is not None
    assert counts.sum() == 60
    assert confusion_of(*clips(MANY)) is None
