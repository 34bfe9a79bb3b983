"""Scores of predictions, against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Row
from distill.evaluation.metrics import accuracy, class_scores, coarse_accuracy, confusion, d_prime, f1, overall
from distill.evaluation.scoring import labels_of, score_embeddings

RANDOM = np.random.default_rng(0)


def slow_average_precision(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """By its definition: at each threshold, precision times the gain of recall."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        recall = truth[chosen].sum() / truth.sum()
        total += (recall - recall_before) * truth[chosen].mean()
        recall_before = recall
    return total


def slow_auc(scores: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The share of pairs in the right order; equal scores count half."""
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[truth == 1] for b in scores[truth == 0]]
    return float(np.mean(pairs))


@pytest.mark.parametrize("ties", [False, True])
def test_precision_and_area_equal_their_definitions(ties: bool) -> None:
    scores = RANDOM.standard_normal((60, 5))
    scores = scores.round(1) if ties else scores
    truth = (RANDOM.random((60, 5)) < 0.3).astype(np.float32)
    known = RANDOM.random((60, 5)) < 0.7
    measured = class_scores(scores, truth, known)
    for column in range(5):
        rows = known[:, column]
        expected = slow_average_precision(scores[rows, column], truth[rows, column])
        assert measured.average_precision[column] == pytest.approx(expected)
        assert measured.auc[column] == pytest.approx(slow_auc(scores[rows, column], truth[rows, column]))
        assert measured.clips[column] == truth[rows, column].sum()


def test_a_class_that_cannot_be_ranked_counts_nowhere() -> None:
    scores, truth = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]]), np.array([[1, 0, 1], [0, 0, 1]])
    measured = class_scores(scores, truth)
    assert np.isnan(measured.average_precision[1])
    assert np.isnan(measured.auc[1:]).all()
    assert overall(scores, truth)["mAP"] == 1.0
    assert overall(scores, truth)["AUC"] == 1.0


def test_accuracy_and_confusion() -> None:
    scores, truth = np.eye(3)[[0, 1, 1, 2]], np.eye(3)[[0, 1, 2, 2]]
    assert accuracy(scores, truth) == 0.75
    assert confusion(scores, truth).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def slow_f1(said: NDArray[np.bool_], present: NDArray[np.bool_]) -> float:
    precision, recall = present[said].mean() if said.any() else 0.0, said[present].mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_f1_is_the_harmonic_mean_of_precision_and_recall_where_somebody_asked() -> None:
    scores, truth = RANDOM.random((60, 5)), RANDOM.random((60, 5)) < 0.3
    truth[:, 4] = False  # counts nowhere
    known = RANDOM.random((60, 5)) < 0.7
    expected = [slow_f1(scores[known[:, c], c] > 0.5, truth[known[:, c], c]) for c in range(4)]
    assert f1(scores, truth, known, 0.5) == pytest.approx(np.mean(expected))


def test_d_prime_is_the_distance_of_two_normal_distributions() -> None:
    random = np.random.default_rng(0)
    scores = random.standard_normal((200_000, 1)) + (truth := (np.arange(200_000) % 2).reshape(-1, 1)) * 1.5
    assert overall(scores, truth)["d_prime"] == pytest.approx(1.5, abs=0.02)
    assert d_prime(0.5) == pytest.approx(0)
    assert np.isfinite(d_prime(1.0))


def test_chroma_is_the_pitch_without_its_octave() -> None:
    truth, scores = np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[1, 1, 0, 2]]
    chroma = LAYOUTS["nsynth_pitch"].coarser["chroma"]
    assert coarse_accuracy(scores, truth, [chroma(pitch) for pitch in ("30", "42", "43")]) == 0.75
    embeddings = RANDOM.standard_normal((60, 8)).astype(np.float32)
    labels = labels_of(
        [Row(str(i), Path("x"), labels=(str(30 + i % 3),), split=str(i % 2)) for i in range(60)], ["30", "31", "32"]
    )
    assert "chroma" in score_embeddings(embeddings, labels, task="nsynth_pitch").result.metrics
    assert "chroma" not in score_embeddings(embeddings, labels).result.metrics
