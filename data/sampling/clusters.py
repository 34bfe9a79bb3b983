"""K-means of the embeddings of a store with FAISS, and files of the clusters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError, UserError
from distill.data.files import write_atomically, write_json
from distill.data.store.format import MAX_MAGNITUDE, read_json
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import TextIndex, Texts

_ITERATIONS, _REPEATS = 25, 5  # of k-means
_POINTS_PER_CENTROID = 256  # more do not change the centroids; FAISS samples beyond this without a message


@dataclass(frozen=True)
class Clustering:
    """The clusters of the clips of a store.

    Args:
        ids: Clips, in the order of the store.
        labels: Cluster of each clip, int32. Shape (clips,).
        centroids: Centres of the clusters, float32. Shape (clusters, dim).
        inertia: Sum of the squared distances of clips to their centroids.
    """

    ids: Texts
    labels: NDArray[np.int32]
    centroids: NDArray[np.float32]
    inertia: float

    @classmethod
    def single(cls, ids: Iterable[str]) -> Clustering:
        """Return all clips as one cluster."""
        clips = Texts.of(ids)
        return cls(clips, np.zeros(len(clips), np.int32), np.zeros((1, 1), np.float32), 0.0)

    def labels_of(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """Return the cluster of each of some clips, int32. Raises StoreError for a clip without a cluster."""
        clips = Texts.of(ids)
        rows = self._index.find_all(clips)
        if len(rows) and rows.min() < 0:
            raise StoreError(
                f"{clips[int(rows.argmin())]!r} has no cluster; it was not in the store that was clustered"
            )
        return self.labels[rows]

    @cached_property
    def _index(self) -> TextIndex:
        return TextIndex(self.ids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Clips in each cluster. Shape (clusters,)."""
        return np.bincount(self.labels, minlength=len(self.centroids))

    def report(self) -> dict[str, Any]:
        """Return numbers that show whether the clusters are useful."""
        sizes = self.sizes[self.sizes > 0]
        shares = sizes / sizes.sum()
        return {
            "clips": len(self.labels),
            "clusters": len(self.centroids),
            "empty_clusters": int((self.sizes == 0).sum()),
            "effective_clusters": round(float(np.exp(-(shares * np.log(shares)).sum())), 2),
            "largest_share": round(float(shares.max()), 4),
            "smallest_cluster": int(sizes.min()),
            "largest_cluster": int(sizes.max()),
            "inertia": self.inertia,
        }


def cluster(
    embeddings: NDArray[np.float32],
    clusters: int,
    *,
    iterations: int = _ITERATIONS,
    repeats: int = _REPEATS,
    seed: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.float32], float]:
    """Cluster points by k-means. Centroids are computed from at most 256 random points per cluster.

    Args:
        embeddings: Shape (points, dim).
        clusters: Number of clusters.
        iterations: Iterations of k-means.
        repeats: Runs of k-means; the best is kept.
        seed: Seed of k-means and of the random points.

    Returns:
        The cluster of each point (points,), int32, the centroids (clusters, dim) and the inertia of all points.

    Raises:
        UserError: there are more clusters than points, or the values are not finite or too large for FAISS.
    """
    points = check_points(embeddings, clusters)
    sample = _sample(np.arange(len(points)), clusters, seed)
    kmeans = _learned(points if len(sample) == len(points) else points[sample], clusters, iterations, repeats, seed)
    distances, labels = kmeans.index.search(points, 1)
    _warn_of_empty(labels, clusters)
    return labels[:, 0].astype(np.int32), _centroids(kmeans), float(distances.sum(dtype=np.float64))


def check_points(embeddings: NDArray[np.float32], clusters: int) -> NDArray[np.float32]:
    """Return the embeddings (points, dim) as contiguous float32, for FAISS.

    Raises:
        UserError: there are more clusters than points, or the values are not finite or too large for FAISS.
    """
    _check_count(clusters, len(embeddings))
    return _check_values(embeddings)


def cluster_store(
    store: EmbeddingStore,
    clusters: int,
    *,
    normalise: bool = False,
    seed: int = 0,
    learned: NDArray[np.int64] | None = None,
) -> Clustering:
    """Cluster the embeddings of a store. Every clip of the store gets a cluster.

    Memory does not grow with the number of clips, but for 4 bytes a clip: the centroids are computed from a sample, and
    the clips are assigned shard by shard.

    Args:
        store: The embeddings.
        clusters: Number of clusters.
        normalise: True scales the embeddings to unit length. False keeps them, as in S-SONDO.
        seed: Seed of k-means.
        learned: Rows of the clips that the centroids are computed from, sorted. Shape (clips,). None means all clips.

    Raises:
        UserError: there are more clusters than clips, or the values are not finite or too large for FAISS.
    """
    rows = np.arange(len(store)) if learned is None else learned
    _check_count(clusters, len(rows))

    def prepared(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        if normalise:
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        return _check_values(vectors)

    kmeans = _learned(prepared(store.read_rows(_sample(rows, clusters, seed))), clusters, _ITERATIONS, _REPEATS, seed)
    labels, inertia, row = np.empty(len(store), np.int32), 0.0, 0
    for _, vectors in store.blocks():
        distances, nearest = kmeans.index.search(prepared(vectors), 1)
        labels[row : row + len(vectors)] = nearest[:, 0]
        inertia += float(distances.sum(dtype=np.float64))
        row += len(vectors)
    _warn_of_empty(labels, clusters)
    return Clustering(store.ids, labels, _centroids(kmeans), inertia)


def _sample(rows: NDArray[np.int64], clusters: int, seed: int) -> NDArray[np.int64]:
    """Return the rows that the centroids are computed from: at most 256 random ones per cluster, sorted."""
    count = clusters * _POINTS_PER_CENTROID
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))]


def _learned(points: NDArray[np.float32], clusters: int, iterations: int, repeats: int, seed: int) -> Any:
    """Return FAISS's k-means after training on all points (points, dim)."""
    import faiss

    kmeans = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        nredo=repeats,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_CENTROID + 1,
    )
    kmeans.train(points)
    return kmeans


def _centroids(kmeans: Any) -> NDArray[np.float32]:
    return np.asarray(kmeans.centroids, dtype=np.float32)


def _warn_of_empty(labels: NDArray[np.integer], clusters: int) -> None:
    if (used := len(np.unique(labels))) < clusters / 2:
        warnings.warn(f"{clusters - used} of {clusters} clusters are empty", stacklevel=3)


def _check_count(clusters: int, clips: int) -> None:
    """Raise UserError if there cannot be so many clusters."""
    if not 1 <= clusters <= clips:
        raise UserError(f"{clusters} clusters: must be 1 to {clips} clusters for {clips} clips")


def _check_values(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings as contiguous float32. Raise UserError if FAISS cannot cluster their values."""
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > MAX_MAGNITUDE:
        raise UserError("the embeddings hold NaN, infinity or values beyond 1e6; FAISS cannot cluster them")
    return points


def save(clustering: Clustering, folder: Path, origin: Mapping[str, Any]) -> None:
    """Write `labels.npy` and `centroids.npy`, and then `clusters.json` with report and origin.

    The labels are in the order of the store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("labels", clustering.labels), ("centroids", clustering.centroids)):
        write_atomically(folder / f"{name}.npy", lambda file, array=array: np.save(file, array))  # type: ignore[misc]
    write_json(folder / "clusters.json", {"origin": dict(origin), "report": clustering.report()})


def load(folder: Path, origin: Mapping[str, Any], ids: Texts) -> Clustering | None:
    """Read a saved clustering. Return None if there is none, or if it has another origin.

    Args:
        folder: Folder of the clustering.
        origin: Store and arguments that it must have.
        ids: Clips of the store.

    Raises:
        StoreError: a file is damaged.
    """
    if not (folder / "clusters.json").is_file():
        return None
    description = read_json(folder / "clusters.json")
    if description["origin"] != origin:
        return None
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    centroids = np.load(folder / "centroids.npy", allow_pickle=False)
    if len(labels) != len(ids) or labels.min() < 0 or labels.max() >= len(centroids):
        raise StoreError(f"{folder} is damaged; delete it and cluster again")
    return Clustering(ids, labels, centroids, description["report"]["inertia"])
