"""Bootstrap intervals against metrics of repeated clips, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.evaluation import bootstrap
from distill.evaluation.bootstrap import difference_of, draw_weights, interval_of, resampled_scores
from distill.evaluation.metrics import METRICS, overall


def several_labels() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    random = np.random.default_rng(0)
    truth = (random.random((30, 4)) < 0.3).astype(np.float64)
    scores = (truth + random.standard_normal((30, 4))).round(1)  # with equal scores
    known = random.random((30, 4)) < 0.8
    known[:, 2] = False
    return scores, truth, known


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("is_known", [False, True])
def test_each_resample_has_the_metric_of_its_repeated_clips(
    metric: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)  # three positive clips
    scores, truth, annotated = several_labels()
    known = annotated if is_known else None
    weights = np.concatenate([draw_weights(30)[:25], np.eye(30, dtype=np.int64)[:5] * 3])
    found = resampled_scores(metric, scores, truth, known, weights, threshold=0.2)
    for row, value in zip(weights, found, strict=True):
        clips = np.repeat(np.arange(30), row)
        expected = overall(scores[clips], truth[clips], None if known is None else known[clips], 0.2)[metric]
        assert value == pytest.approx(expected, nan_ok=True)


def test_a_resample_without_clips_is_not_a_number() -> None:
    scores, truth, _ = several_labels()
    for metric in METRICS:
        assert np.isnan(resampled_scores(metric, scores, truth, None, np.zeros((1, 30), np.int64))).all()


def test_resamples_draw_as_many_clips_and_depend_on_the_seed_only() -> None:
    weights = draw_weights(50)
    assert weights.shape == (1000, 50)
    assert (weights.sum(1) == 50).all()
    assert np.array_equal(weights, draw_weights(50))
    assert not np.array_equal(weights, draw_weights(50, seed=1))


def test_the_interval_of_an_accuracy_has_the_width_of_the_binomial() -> None:
    truth = np.eye(2)[np.zeros(400, int)]
    scores = np.eye(2)[(np.arange(400) % 4 == 0).astype(int)]  # 75 % correct
    low, high = interval_of(resampled_scores("accuracy", scores, truth, None, draw_weights(400)))
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - half, abs=0.006)
    assert high == pytest.approx(0.75 + half, abs=0.006)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    truth, weights = np.eye(2)[np.zeros(400, int)], draw_weights(400)
    wrong = np.arange(400) % 4 == 0
    better = wrong & (np.arange(400) % 10 != 0)
    one, other = (
        resampled_scores("accuracy", np.eye(2)[cells.astype(int)], truth, None, weights) for cells in (better, wrong)
    )
    value, low, high = difference_of(0.8, 0.75, one, other)
    assert value == pytest.approx(0.05)
    half = 1.96 * np.sqrt(0.05 * 0.95 / 400)
    assert (low, high) == pytest.approx((0.05 - half, 0.05 + half), abs=0.005)
    assert interval_of(np.full(5, np.nan))[0] != interval_of(np.full(5, np.nan))[0]
