from __future__ import annotations

import numpy as np
import pytest

from distill.data.sampling.orders import (
    ClusterOrder,
    StratifiedOrder,
    UniformOrder,
    WeightedOrder,
    cluster_weights,
)
from distill.data.sampling.weights import cap


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).choice(7, 500, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01])


def test_weights_equal_the_official_ones(golden) -> None:
    stored = np.load(golden / "ssondo" / "sampler.npz")
    np.testing.assert_allclose(cluster_weights(stored["cluster_labels"]), stored["cluster_weights"], rtol=1e-9)


def test_draws_have_the_probabilities_of_the_weights(labels: np.ndarray) -> None:
    draws = 200_000
    counts = np.bincount(ClusterOrder(labels, seed=1).indices(0, 0, draws), minlength=len(labels))
    expected = cluster_weights(labels) * draws
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - len(labels)) < 5 * np.sqrt(2 * len(labels))


def test_empty_clusters_are_never_drawn() -> None:
    order = ClusterOrder(np.array([3, 3, 9]))
    assert set(order.indices(0, 0, 1000)) == {0, 1, 2}


@pytest.mark.parametrize("kind", ["uniform", "cluster"])
def test_any_position_can_be_computed(kind: str, labels: np.ndarray) -> None:
    order = UniformOrder(500, seed=3) if kind == "uniform" else ClusterOrder(labels, seed=3)
    whole = order.indices(2, 0, 500)
    assert np.array_equal(order.indices(2, 123, 321), whole[123:321])
    assert not np.array_equal(order.indices(1, 0, 500), whole)


def test_a_uniform_epoch_of_more_draws_than_clips_goes_through_all_again() -> None:
    order = UniformOrder(10, seed=1, epoch_length=25)
    draws = order.indices(0, 0, 25)
    assert order.epoch_length == len(draws) == 25
    assert all(sorted(draws[first : first + 10]) == list(range(10)) for first in (0, 10))
    assert not np.array_equal(draws[:10], draws[10:20])
    assert np.array_equal(order.indices(0, 7, 23), draws[7:23])
    assert np.array_equal(draws[:10], UniformOrder(10, seed=1).indices(0, 0, 10))


def test_an_epoch_holds_every_clip_once() -> None:
    assert sorted(UniformOrder(61, seed=5).indices(4, 0, 61)) == list(range(61))


def test_more_clips_than_torch_can_weigh() -> None:
    labels = np.zeros(2**24 + 1, dtype=np.int32)
    labels[-1] = 1
    drawn = ClusterOrder(labels).indices(0, 0, 1000)
    assert 400 < (drawn == 2**24).sum() < 600


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
    assert np.abs(often - expected).mean() < 0.1  # what is rounded off comes in other epochs
    assert np.abs(np.diff(epochs[0])).mean() > 50  # in no order of the clips
