"""K-means of the embeddings of a store with FAISS, and files of the clusters."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import StoreError, UserError
from distill.data.files import write_atomically, write_json
from distill.data.store.format import MAX_MAGNITUDE, read_json
from distill.data.store.reader import EmbeddingStore

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

    ids: tuple[str, ...]
    labels: NDArray[np.int32]
    centroids: NDArray[np.float32]
    inertia: float

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
    iterations: int = 25,
    repeats: int = 5,
    seed: int = 0,
    learned: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.float32], float]:
    """Cluster points by k-means. Centroids are computed from at most 256 random points per cluster.

    Args:
        embeddings: Shape (points, dim).
        clusters: Number of clusters.
        iterations: Iterations of k-means.
        repeats: Runs of k-means; the best is kept.
        seed: Seed of k-means and of the random points.
        learned: True at points that the centroids are computed from. Shape (points,). None means all points.

    Returns:
        The cluster of each point (points,), int32, the centroids (clusters, dim) and the inertia of all points.

    Raises:
        UserError: there are more clusters than points, or the values are not finite or too large for FAISS.
    """
    import faiss

    points = check_points(embeddings, clusters, learned)
    usable = points if learned is None else points[learned]
    generator = np.random.default_rng(seed)
    sample = usable
    if len(usable) > clusters * _POINTS_PER_CENTROID:
        sample = usable[np.sort(generator.choice(len(usable), clusters * _POINTS_PER_CENTROID, replace=False))]
    kmeans = faiss.Kmeans(
        points.shape[1],
        clusters,
        niter=iterations,
        nredo=repeats,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_PER_CENTROID + 1,
    )
    kmeans.train(sample)
    centroids = np.asarray(kmeans.centroids, dtype=np.float32)
    distances, labels = kmeans.index.search(points, 1)
    if len(np.unique(labels)) < clusters / 2:
        warnings.warn(f"{clusters - len(np.unique(labels))} of {clusters} clusters are empty", stacklevel=2)
    return labels[:, 0].astype(np.int32), centroids, float(distances.sum(dtype=np.float64))


def check_points(
    embeddings: NDArray[np.float32], clusters: int, learned: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Return the embeddings (points, dim) as contiguous float32, for FAISS.

    Raises:
        UserError: there are more clusters than points, or the values are not finite or too large for FAISS.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    usable = len(points) if learned is None else int(learned.sum())
    if not 1 <= clusters <= usable:
        raise UserError(f"{clusters} clusters: must be 1 to {usable} clusters for {usable} clips")
    if not np.isfinite(points).all() or np.abs(points).max() > MAX_MAGNITUDE:
        raise UserError("the embeddings hold NaN, infinity or values beyond 1e6; FAISS cannot cluster them")
    return points


def cluster_store(
    store: EmbeddingStore,
    clusters: int,
    *,
    normalise: bool = False,
    seed: int = 0,
    learned: Collection[str] | None = None,
) -> Clustering:
    """Cluster the embeddings of a store. Every clip of the store gets a cluster.

    Args:
        store: The embeddings.
        clusters: Number of clusters.
        normalise: True scales the embeddings to unit length. False keeps them, as in S-SONDO.
        seed: Seed of k-means.
        learned: Ids of the clips that the centroids are computed from. None means all clips.

    Raises:
        UserError: there are more clusters than clips, or the values are not finite or too large for FAISS.
    """
    embeddings = store.read_all()
    if normalise:
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    mask = None if learned is None else np.array([clip_id in learned for clip_id in store.ids])
    return Clustering(tuple(store.ids), *cluster(embeddings, clusters, seed=seed, learned=mask))


def save(clustering: Clustering, folder: Path, origin: dict[str, Any]) -> None:
    """Write `labels.npy` and `centroids.npy`, and then `clusters.json` with ids, report and origin."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("labels", clustering.labels), ("centroids", clustering.centroids)):
        write_atomically(folder / f"{name}.npy", lambda file, array=array: np.save(file, array))  # type: ignore[misc]
    write_json(folder / "clusters.json", {"origin": origin, "report": clustering.report(), "ids": list(clustering.ids)})


def load(folder: Path, origin: dict[str, Any]) -> Clustering | None:
    """Read a saved clustering. Return None if there is none, or if it has another origin.

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
    if len(labels) != len(description["ids"]) or labels.min() < 0 or labels.max() >= len(centroids):
        raise StoreError(f"{folder} is damaged; delete it and cluster again")
    return Clustering(tuple(description["ids"]), labels, centroids, description["report"]["inertia"])
