from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.data.errors import StoreError, UserError
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


def stored(folder: Path, points: np.ndarray, rows_per_shard: int = 64) -> EmbeddingStore:
    """Return a store of points (clips, dim). Its ids are the numbers of the rows."""
    ids = [f"{row}" for row in range(len(points))]
    with lock(folder, "test"):
        writer = StoreWriter(folder, ids, points.shape[1], {}, "float32", rows_per_shard=rows_per_shard)
        for number in range(-(-len(ids) // rows_per_shard)):
            rows = slice(number * rows_per_shard, (number + 1) * rows_per_shard)
            writer.write(number, dict(zip(ids[rows], points[rows], strict=True)))
    return EmbeddingStore(folder)


def test_a_saved_clustering_is_read_only_for_its_own_store(tmp_path: Path) -> None:
    points, _ = blobs(20)
    store = stored(tmp_path, points)
    made = clusters.cluster_store(store, 3)
    clusters.save(made, tmp_path / "clusters", {"store": "a"})
    assert clusters.load(tmp_path / "clusters", {"store": "b"}, store.ids) is None
    read = clusters.load(tmp_path / "clusters", {"store": "a"}, store.ids)
    assert read is not None
    assert np.array_equal(read.labels, made.labels)
    assert read.ids == made.ids
    with pytest.raises(StoreError, match="damaged"):
        clusters.load(tmp_path / "clusters", {"store": "a"}, store.ids[:9])


@pytest.mark.parametrize("normalise", [False, True])
def test_a_store_is_clustered_as_its_points_are(normalise: bool, tmp_path: Path) -> None:
    points, _ = blobs(3000)  # more than 256 points of each of 5 clusters: the centroids are those of a sample
    found = clusters.cluster_store(stored(tmp_path, points), 5, normalise=normalise, seed=2)
    if normalise:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    labels, centroids, inertia = clusters.cluster(points, 5, seed=2)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.centroids, centroids)
    assert found.inertia == pytest.approx(inertia, rel=1e-6)


def test_centroids_are_computed_only_from_the_chosen_clips(tmp_path: Path) -> None:
    points, _ = blobs(60)
    far = points.copy()
    far[40:] += 1000
    store = stored(tmp_path, far)
    found = clusters.cluster_store(store, 3, learned=np.arange(40))
    assert np.abs(found.centroids).max() < 500
    assert found.labels.shape == (60,)
    with pytest.raises(UserError, match="1 to 40"):
        clusters.cluster_store(store, 41, learned=np.arange(40))


def test_clips_are_found_by_their_ids(tmp_path: Path) -> None:
    found = clusters.cluster_store(stored(tmp_path, blobs(20)[0]), 3)
    np.testing.assert_array_equal(found.labels_of(["7", "3", "7"]), found.labels[[7, 3, 7]])
    with pytest.raises(StoreError, match=r"'20' has no cluster"):
        found.labels_of(["3", "20"])
