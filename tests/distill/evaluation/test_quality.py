"""Measures of quality without labels, against slow versions and embeddings of known quality."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.evaluation.quality import (
    agreement,
    common_neighbours,
    crop_matches,
    recalls,
    ridge_predictions,
    ridge_weights,
    sensitivity,
    standardise,
)

Array = NDArray[np.float64]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def slow_common_neighbours(student: Array, teacher: Array, queries: list[int], k: int) -> float:
    def neighbours(vectors: Array, query: int) -> set[int]:
        z = (vectors - vectors.mean(0)) / vectors.std(0)
        cosines = {
            row: float(z[row] @ z[query] / np.linalg.norm(z[row]) / np.linalg.norm(z[query]))
            for row in range(len(z))
            if row != query
        }
        return set(sorted(cosines, key=lambda row: -cosines[row])[:k])

    return float(np.mean([len(neighbours(student, q) & neighbours(teacher, q)) / k for q in queries]))


def test_common_neighbours_are_those_of_a_slow_count() -> None:
    teacher = random(60, 5)
    student = teacher @ random(5, 7, seed=1) + 0.5 * random(60, 7, seed=2)
    queries = np.array([3, 9, 30, 59])
    for k in (1, 10):
        expected = slow_common_neighbours(student, teacher, queries.tolist(), k)
        assert common_neighbours(student, teacher, queries, k) == pytest.approx(expected)
    assert common_neighbours(student, teacher) == pytest.approx(
        slow_common_neighbours(student, teacher, list(range(60)), 10)
    )
    assert 0.2 < common_neighbours(student, teacher) < 0.9


def test_common_neighbours_of_equal_and_of_unrelated_spaces() -> None:
    teacher = random(400, 6)
    assert common_neighbours(3 * teacher - 7, teacher) == 1.0
    unrelated = common_neighbours(random(400, 6, seed=1), teacher)
    assert unrelated == pytest.approx(10 / 399, abs=0.01)


def test_few_clips_have_few_neighbours_and_then_none() -> None:
    teacher = random(5, 3)
    assert common_neighbours(random(5, 3, seed=1), teacher) == 1.0  # all four others
    assert np.isnan(common_neighbours(teacher[:2], teacher[:2]))
    assert np.isnan(common_neighbours(teacher, teacher, np.array([], dtype=np.int64)))
    assert np.isnan(agreement(teacher, teacher)[1:]).all()


def test_constant_and_not_finite_embeddings_have_no_agreement_by_chance() -> None:
    teacher = random(60, 5).astype(np.float32)
    constant = np.full((60, 4), 0.1, np.float32) + np.float32(1e-8) * random(60, 4).astype(np.float32)
    found = agreement(constant, teacher)
    assert found.neighbours == 0.0
    assert found.recall_10 <= 2 * 10 / 60  # at the level of chance
    assert -0.2 < found.r2 <= 0  # two halves have two means
    for bad in (constant, np.full((60, 5), np.nan, np.float32)):
        assert np.isnan(agreement(teacher, bad)).all()
    assert np.isnan(agreement(np.full((60, 5), np.inf), teacher)).all()


def test_a_constant_column_counts_nothing() -> None:
    vectors = random(50, 3).astype(np.float32)
    with_constant = np.concatenate([vectors, np.full((50, 1), 5.0, np.float32)], 1)
    with_constant[::2, 3] += 4e-7  # the next number of float32
    assert not standardise(with_constant)[:, 3].any()
    np.testing.assert_allclose(standardise(with_constant)[:, :3], standardise(vectors))
    np.testing.assert_allclose(standardise(vectors).std(0), 1)


@pytest.mark.parametrize("seed", range(12))
def test_the_ridge_has_the_penalty_of_the_least_leave_one_out_error(seed: int) -> None:
    clips = 9
    inputs = random(clips, 4, seed=seed)
    targets = inputs @ random(4, 2, seed=1) + 2 * random(clips, 2, seed=seed + 100)
    inputs, targets = inputs - inputs.mean(0), targets - targets.mean(0)

    def solve(x: Array, y: Array, strength: float) -> Array:
        return np.linalg.solve(x.T @ x + strength * np.eye(4), x.T @ y)

    def left_out(strength: float) -> float:
        total = 0.0
        for row in range(clips):
            x, y = np.delete(inputs, row, 0), np.delete(targets, row, 0)
            # The mean is fitted without the clip too, with the penalty of all clips.
            weights = solve(x - x.mean(0), y - y.mean(0), strength)
            total += float(np.square(targets[row] - y.mean(0) - (inputs[row] - x.mean(0)) @ weights).sum())
        return total

    best = min([clips * strength for strength in np.logspace(-4, 3, 15)], key=left_out)
    np.testing.assert_allclose(ridge_weights(inputs, targets), solve(inputs, targets, best), atol=1e-9)


def test_each_half_is_predicted_from_the_other() -> None:
    inputs = random(40, 3)
    targets = inputs @ random(3, 2, seed=1)
    np.testing.assert_allclose(ridge_predictions(inputs, targets), targets, atol=1e-2)
    changed = targets.copy()
    changed[7] += 100  # the prediction of this clip must not see it
    assert np.abs(ridge_predictions(inputs, changed)[7] - targets[7]).max() < 0.1


def test_r2_and_recall_of_a_linear_map_with_noise() -> None:
    teacher = random(800, 20)
    student = np.concatenate([teacher[:, :10], random(800, 10, seed=1)], 1)  # half of the columns
    queries = np.arange(0, 800, 4)
    assert agreement(student, teacher, queries).r2 == pytest.approx(0.5, abs=0.04)
    assert agreement(teacher @ random(20, 20, seed=3), teacher, queries).recall_1 == 1.0
    noise = random(800, 20, seed=1)
    assert agreement(noise, teacher, queries).recall_1 < 0.05
    assert agreement(noise, teacher, queries).r2 == pytest.approx(0, abs=0.05)
    few = agreement(teacher[:, :3], teacher, queries)
    assert few.recall_1 < few.recall_10 < 1


def test_sensitivity_is_a_share_of_the_distance_of_two_clips() -> None:
    clean = random(40, 4) * [1, 10, 100, 0] + 5
    z = (clean[:, :3] - clean[:, :3].mean(0)) / clean[:, :3].std(0)
    between = np.mean([np.linalg.norm(z[i] - z[j]) for i in range(40) for j in range(i)])
    changed = clean + np.array([0, 2, 0, 0])
    assert sensitivity(clean, changed) == pytest.approx(2 / clean[:, 1].std() / between)
    assert sensitivity(clean, clean) == 0
    assert sensitivity(random(400, 8), random(400, 8, seed=1)) == pytest.approx(1, abs=0.03)
    assert np.isnan(sensitivity(np.ones((5, 2)), np.ones((5, 2))))
    assert np.isnan(sensitivity(clean[:2], clean[:2]))


def test_the_second_crop_is_found_by_the_first() -> None:
    first = random(50, 6)
    assert crop_matches(first, first + 0.01 * random(50, 6, seed=1)).all()
    assert crop_matches(first, random(50, 6, seed=2)).mean() < 0.15
    assert not crop_matches(np.ones((5, 3)), np.ones((5, 3))).any()
    swapped = first.copy()
    swapped[[0, 1]] = first[[1, 0]]
    assert crop_matches(first, swapped).tolist() == [False, False] + [True] * 48


def test_recalls_are_those_of_a_slow_search() -> None:
    generator = np.random.default_rng(0)
    teacher = generator.standard_normal((60, 6)) * [1, 1, 1, 9, 1, 0] + 3  # the last column is constant
    answers = teacher + 0.8 * generator.standard_normal(teacher.shape) * [1, 1, 1, 9, 1, 1e-5]
    queries, mean, scale = np.arange(20), teacher.mean(0), np.append(teacher.std(0)[:5], np.inf)
    ranks = []
    for query in queries:
        wanted = (answers[query] - mean) / scale
        others = (teacher - mean) / scale
        cosines = [wanted @ other / np.linalg.norm(wanted) / np.linalg.norm(other) for other in others]
        ranks.append(sorted(cosines, reverse=True).index(cosines[query]))
    expected = [sum(rank < count for rank in ranks) / len(ranks) for count in (1, 10)]
    assert recalls(answers, teacher, queries) == pytest.approx(expected)
    assert 0 < expected[0] < expected[1] < 1
    assert recalls(teacher, teacher) == (1, 1)
    assert recalls(np.ones_like(teacher), teacher)[0] < 0.1
    assert np.isnan(recalls(answers, np.ones_like(teacher))).all()
