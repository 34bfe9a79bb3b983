from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.data.sampling.clusters import cluster
from distill.data.sampling.hierarchy import cover, default_levels, hierarchical_weights, hierarchy, hierarchy_weights
from distill.data.sampling.orders import StratifiedOrder, WeightedOrder, cluster_weights
from distill.data.sampling.weights import cap, collapse_duplicates, effective_number, label_weights, temper
from tests.conftest import GOLDEN


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


def test_label_weights_equal_the_official_ones() -> None:
    stored = np.load(GOLDEN / "ssondo" / "sampler.npz")
    indptr, indices = stored["label_indptr"], stored["label_indices"]
    labels = [indices[a:b].tolist() for a, b in pairwise(indptr)]
    np.testing.assert_allclose(label_weights(labels), stored["label_weights_sum"], rtol=1e-5)


def test_temper_goes_from_uniform_to_unchanged() -> None:
    weights = np.array([0.1, 0.2, 0.7, 0.0])
    assert temper(weights, 1.0).tolist() == pytest.approx(weights.tolist())
    assert temper(weights, 0.0).tolist() == pytest.approx([1 / 3] * 3 + [0])
    assert 1 < effective_number(weights) < effective_number(temper(weights, 0.5)) < 3


def test_a_cap_is_kept_and_the_rest_is_shared() -> None:
    capped = cap(np.array([0.6, 0.3, 0.05, 0.05]), 0.35)
    assert capped.max() <= 0.35 + 1e-9
    assert capped.sum() == pytest.approx(1)
    assert capped[2] == pytest.approx(capped[3])
    assert capped.tolist()[:2] == pytest.approx([0.35, 0.35])
    with pytest.raises(UserError, match="max_repeats"):
        cap(np.ones(4), 0.2)


def test_nearly_the_same_centres_leave_no_empty_cell_and_weights_sum_to_1() -> None:
    random = np.random.default_rng(0)
    points = np.repeat(random.standard_normal((700, 8)), 30, 0) + 3e-4 * random.standard_normal((21_000, 8))
    labels, centres = cover(points.astype(np.float32), 2_000)
    assert np.array_equal(np.unique(labels), np.arange(len(centres)))
    assert hierarchical_weights(points.astype(np.float32), (2_000, 50), trees=2).sum() == pytest.approx(1)


@pytest.mark.parametrize("similarity", [0.999, 1.0])
def test_exact_copies_and_silence_are_duplicates_at_any_similarity(similarity: float) -> None:
    points = np.random.default_rng(0).standard_normal((50, 256)).astype(np.float32)
    points[7] = 0
    shares = collapse_duplicates(np.r_[points, points, points[7:8]], similarity)
    assert shares[[7, 57, 100]].tolist() == pytest.approx([1 / 3] * 3)
    assert np.delete(shares, [7, 57, 100]).tolist() == pytest.approx([1 / 2] * 98)


def test_duplicates_of_many_clips_are_counted_a_part_at_a_time() -> None:
    points = np.random.default_rng(0).standard_normal((6_500, 4)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.allclose(1 / collapse_duplicates(points, 0.9)[:200], (unit[:200] @ unit.T >= 0.9).sum(1), atol=1)


def test_duplicates_share_the_draws_of_one() -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((5, 32)).astype(np.float32)
    points = np.r_[points, points[:1] * 2, points[:1] * 1.001].astype(np.float32)
    assert collapse_duplicates(points, 0.999).tolist() == pytest.approx([1 / 3, 1, 1, 1, 1, 1 / 3, 1 / 3])


def test_weighted_draws_have_their_shares_and_any_position() -> None:
    weights = np.array([0.1, 0.0, 0.6, 0.3])
    order = WeightedOrder(weights, seed=3, epoch_length=20_000)
    drawn = order.indices(2, 0, 20_000)
    assert np.bincount(drawn, minlength=4) / 20_000 == pytest.approx(weights, abs=0.015)
    assert np.array_equal(order.indices(2, 500, 600), drawn[500:600])


def test_a_limit_on_repeats_holds_in_every_epoch() -> None:
    weights = cap(np.random.default_rng(0).pareto(0.5, 300) + 1e-3, 4 / 500)
    weights[7] = 0
    order = StratifiedOrder(weights, seed=3, epoch_length=500)
    expected = weights / weights.sum() * 500
    epochs = [order.indices(epoch, 0, 500) for epoch in range(20)]
    for drawn in epochs:
        counts = np.bincount(drawn, minlength=300)
        assert (np.abs(counts - expected) < 1).all()
    assert max(np.bincount(drawn).max() for drawn in epochs) <= np.ceil(expected.max())
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(order.indices(2, 123, 321), epochs[2][123:321])
    often = np.mean([np.bincount(drawn, minlength=300) for drawn in epochs], axis=0)
    assert np.abs(often - expected).mean() < 0.1  # rounding differs between epochs
    assert np.abs(np.diff(epochs[0])).mean() > 50  # draws are not in the order of clips


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
