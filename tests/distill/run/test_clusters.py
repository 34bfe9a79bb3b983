"""The clustering of a store: computed once, and again when anything that determines it has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.data.sampling.clusters import Clustering
from distill.run.clusters import clustering_of
from tests.data.store.stores import IDS, VECTORS, write_all

ARGUMENTS: dict[str, Any] = {"clusters": 3, "normalise": False, "seed": 0}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of clusters whenever clusters are computed."""
    from distill.run import clusters

    calls: list[int] = []
    compute = clusters.cluster_store

    def count(store: Any, number: int, **options: Any) -> Clustering:
        calls.append(number)
        return compute(store, number, **options)

    monkeypatch.setattr(clusters, "cluster_store", count)
    return calls


def test_a_clustering_is_written_with_its_picture_and_read_the_second_time(tmp_path: Path, computed: list[int]) -> None:
    store = write_all(tmp_path / "store")
    first, second = (clustering_of(store, tmp_path / "clusters", **ARGUMENTS) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (tmp_path / "clusters" / "clusters.png").stat().st_size > 0
    assert computed == [3]


@pytest.mark.parametrize("change", [{"clusters": 4}, {"normalise": True}, {"seed": 1}, {"learned": set(IDS[:9])}])
def test_other_arguments_give_another_clustering(change: dict[str, Any], tmp_path: Path, computed: list[int]) -> None:
    store = write_all(tmp_path / "store")
    clustering_of(store, tmp_path / "clusters", **ARGUMENTS)
    clustering_of(store, tmp_path / "clusters", **ARGUMENTS | change)
    assert len(computed) == 2


def test_centroids_are_those_of_the_chosen_clips(tmp_path: Path) -> None:
    store = write_all(tmp_path / "store")
    found = clustering_of(store, tmp_path / "clusters", 1, False, 0, learned=IDS[:9])
    np.testing.assert_allclose(found.centroids[0], VECTORS[:9].mean(0), rtol=1e-5, atol=1e-6)
    assert len(found.labels) == len(IDS)
