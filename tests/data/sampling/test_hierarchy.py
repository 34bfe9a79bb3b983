from __future__ import annotations

import json

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.data.sampling.clusters import cluster
from distill.data.sampling.hierarchy import cover, default_levels, hierarchical_weights, hierarchy, hierarchy_weights
from distill.data.sampling.orders import cluster_weights
from distill.data.sampling.weights import collapse_duplicates, effective_number


def long_tail() -> tuple[np.ndarray, np.ndarray]:
    """Return 2,000 points and their classes: 0.88 in one wide cloud, the head, and 12 small classes around it."""
    random = np.random.default_rng(0)
    truth = np.r_[np.zeros(1760, int), 1 + np.arange(240) % 12]
    centres = np.r_[np.zeros((1, 16)), random.standard_normal((12, 16)) * 4]
    spread = np.where(truth == 0, 1.5, 0.7)[:, None]
    return (centres[truth] + spread * random.standard_normal((2000, 16))).astype(np.float32), truth


def test_a_hierarchy_draws_the_head_less_often_than_flat_clusters() -> None:
    points, truth = long_tail()
    flat = cluster_weights(cluster(points, 50)[0])
    weights = hierarchical_weights(points)
    assert weights[truth == 0].sum() < min(0.65, flat[truth == 0].sum() - 0.1)
    assert weights.sum() == pytest.approx(1)
    assert weights.min() > 0
    assert np.array_equal(weights, hierarchical_weights(points))


def grouped_head() -> tuple[np.ndarray, np.ndarray]:
    """Return 2,000 points and the mask of the tail: 0.88 in 44 dense groups, and 240 points scattered as widely."""
    random = np.random.default_rng(1)
    groups = random.standard_normal((44, 16))[np.arange(1760) % 44]
    head = groups + 0.4 * random.standard_normal((1760, 16))
    return np.r_[head, random.standard_normal((240, 16))].astype(np.float32), np.arange(2000) >= 1760


def test_half_of_the_trees_cover_the_space_where_the_head_falls_into_dense_groups() -> None:
    points, tail = grouped_head()
    k_means = np.mean([hierarchy_weights(hierarchy(points, (200, 20), seed=seed)) for seed in range(5)], axis=0)
    assert k_means[~tail].sum() > 0.7
    assert hierarchical_weights(points)[~tail].sum() < 0.6


def test_a_cover_is_the_farthest_first_traversal() -> None:
    points = long_tail()[0][:300]
    labels, centres = cover(points, 25, seed=3)
    chosen = [int(np.flatnonzero((points == centres[0]).all(1))[0])]
    apart = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    while len(chosen) < 25:
        chosen.append(int(apart[:, chosen].min(1).argmax()))
    assert np.array_equal(centres, points[chosen])
    assert np.array_equal(labels, apart[:, chosen].argmin(1))


def test_a_cover_of_many_clips_is_made_of_some_and_holds_all() -> None:
    points = np.random.default_rng(0).standard_normal((20_500, 3)).astype(np.float32)
    labels, centres = cover(points, 40)
    assert np.array_equal(labels, np.square(points[:, None] - centres[None]).sum(2).argmin(1))
    assert len(np.unique(labels)) == 40


def test_no_cell_of_a_cover_is_empty_even_where_clips_are_the_same() -> None:
    labels, _ = cover(np.repeat(np.eye(3, dtype=np.float32), 4, 0), 7)
    assert len(np.unique(labels)) == 7
    with pytest.raises(UserError, match="1 to 12 clusters"):
        cover(np.ones((12, 3), dtype=np.float32), 13)


def test_a_mean_of_trees_is_more_stable_and_more_varied_than_one() -> None:
    points, truth = long_tail()
    many, one = ([hierarchical_weights(points, (100, 10), seed, trees) for seed in (0, 1000, 2000)] for trees in (5, 1))
    assert np.std([w[truth == 0].sum() for w in many]) < np.std([w[truth == 0].sum() for w in one])
    assert np.mean([effective_number(w) for w in many]) > np.mean([effective_number(w) for w in one])


def test_copies_of_a_clip_share_its_draws() -> None:
    points, _ = long_tail()
    order = np.random.default_rng(1).permutation(2_000 + 5 * 100)
    listed = np.r_[np.arange(2_000), np.tile(np.arange(100), 5)][order]  # the first hundred six times
    weights = hierarchical_weights(points[listed])
    of_clip = np.bincount(listed, weights)
    assert of_clip[:100].sum() < 2 * hierarchical_weights(points)[:100].sum()
    assert np.allclose(weights, (of_clip / np.bincount(listed))[listed])


@pytest.mark.parametrize("copies", [1, 20])
def test_near_duplicates_count_once_inside_their_cluster_for_every_policy(copies: int) -> None:
    points, _ = long_tail()
    listed = np.r_[points, np.repeat(points[:1], copies, 0)]
    shares = collapse_duplicates(listed, 0.9999)
    assert shares[0] == pytest.approx(1 / (1 + copies))
    same = np.r_[0, 2_000 + np.arange(copies)]
    hierarchical = hierarchical_weights(listed, shares=shares)
    assert hierarchical[same].sum() == pytest.approx(hierarchical_weights(listed)[same].sum())
    labels = np.zeros(len(listed), dtype=int)
    labels[same] = 1  # a cluster of copies is drawn as often as any other
    assert cluster_weights(labels, shares)[same].sum() == pytest.approx(0.5)


@pytest.mark.filterwarnings("ignore:.*are empty")
def test_identical_clips_are_drawn_equally_often_and_others_that_are_not_finite_are_refused() -> None:
    weights = hierarchical_weights(np.ones((200, 4), dtype=np.float32))
    assert np.allclose(weights, 1 / 200)
    bad = long_tail()[0]
    bad[3, 2] = np.nan
    with pytest.raises(UserError, match="cannot cluster"):
        hierarchical_weights(bad)


def test_weights_of_a_tree_are_those_of_drawing_from_the_top() -> None:
    levels = [np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 1])]  # two at the top; clusters 0 and 1 in the first
    assert hierarchy_weights(levels).tolist() == pytest.approx([1 / 12] * 3 + [1 / 4] + [1 / 4] * 2)


def test_nearly_the_same_centres_leave_no_empty_cell_and_weights_sum_to_1() -> None:
    random = np.random.default_rng(0)
    points = np.repeat(random.standard_normal((700, 8)), 30, 0) + 3e-4 * random.standard_normal((21_000, 8))
    labels, centres = cover(points.astype(np.float32), 2_000)
    assert np.array_equal(np.unique(labels), np.arange(len(centres)))
    assert hierarchical_weights(points.astype(np.float32), (2_000, 50), trees=2).sum() == pytest.approx(1)


@pytest.mark.parametrize("levels", [(), (10, 10), (5, 8)])
def test_levels_must_decrease(levels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="levels"):
        hierarchy(long_tail()[0][:50], levels)


def test_default_levels_decrease() -> None:
    assert default_levels(4321) == (432, 43)
    assert default_levels(2_000_000) == (10_000, 1000, 100, 10)
    assert default_levels(20) == (2,)
    assert default_levels(3) == (1,)
    assert json.dumps(default_levels(4000))
