from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.data.files import lock
from distill.data.sampling import clusters
from distill.data.store.reader import EmbeddingStore
from distill.data.store.writer import StoreWriter


def blobs(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, count)
    return (np.eye(3, 8)[truth] * 10 + random.standard_normal((count, 8))).astype(np.float32), truth


def test_separate_blobs_are_found() -> None:
    points, truth = blobs()
    labels, centroids, inertia = clusters.cluster(points, 3, repeats=3)
    assert all(len(set(truth[labels == label])) == 1 for label in range(3))
    assert inertia == pytest.approx(((points - centroids[labels]) ** 2).sum(), rel=1e-4)


def test_the_same_seed_gives_the_same_clusters() -> None:
    points, _ = blobs()
    assert np.array_equal(clusters.cluster(points, 5, seed=1)[0], clusters.cluster(points, 5, seed=1)[0])


@pytest.mark.parametrize("count", [0, 301])
def test_more_clusters_than_points_are_refused(count: int) -> None:
    with pytest.raises(UserError, match="1 to 300"):
        clusters.cluster(blobs()[0], count)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_values_that_would_abort_faiss_are_refused(value: float) -> None:
    points, _ = blobs()
    points[5, 2] = value
    with pytest.raises(UserError, match="cannot cluster"):
        clusters.cluster(points, 3)


def test_equal_points_warn_of_empty_clusters() -> None:
    with pytest.warns(UserWarning, match="empty"):
        clusters.cluster(np.ones((100, 4), dtype=np.float32), 10)


def test_a_saved_clustering_is_read_only_for_its_own_store(tmp_path: Path) -> None:
    points, _ = blobs(20)
    with lock(tmp_path, "test"):
        ids = [f"{row}" for row in range(20)]
        StoreWriter(tmp_path, ids, 8, {}).write(0, dict(zip(ids, points, strict=True)))
    made = clusters.cluster_store(EmbeddingStore(tmp_path), 3)
    clusters.save(made, tmp_path / "clusters", {"store": "a"})
    assert clusters.load(tmp_path / "clusters", {"store": "b"}) is None
    read = clusters.load(tmp_path / "clusters", {"store": "a"})
    assert read is not None
    assert np.array_equal(read.labels, made.labels)
    assert read.ids == made.ids


def test_centroids_are_computed_only_from_the_chosen_clips() -> None:
    points, _ = blobs(60)
    far = points.copy()
    far[40:] += 1000
    learned = np.arange(60) < 40
    labels, centroids, _ = clusters.cluster(far, 3, learned=learned)
    assert np.abs(centroids).max() < 500
    assert labels.shape == (60,)
