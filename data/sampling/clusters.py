"""K-means over a store with FAISS, and what its clusters look like."""

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

_POINTS_PER_CENTROID = 256  # more do not move the centroids; FAISS would sample without saying so


@dataclass(frozen=True)
class Clustering:
    """Cluster of every clip of a store.

    Args:
        ids: Clips, in the order of the store.
        labels: Cluster of each, int32. Shape (clips,).
        centroids: Float32. Shape (clusters, dim).
        inertia: Sum of squared distances to the nearest centroid.
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
        """Numbers that tell whether the clusters are of use."""
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
    """K-means of (points, dim), on at most 256 points a cluster drawn with `seed`; then all points are assigned.

    Args:
        embeddings: Shape (points, dim).
        clusters: How many.
        iterations: Of k-means.
        repeats: Times that k-means begins anew; the best is kept.
        seed: Of k-means, and of what is drawn.
        learned: Points that centroids are made of (points,); None is all.

    Returns:
        Labels (points,), centroids (clusters, dim) and inertia over all points.

    Raises:
        UserError: more clusters than points, or values that FAISS cannot take.
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
    """The embeddings (points, dim) in the form that FAISS takes.

    Raises:
        UserError: more clusters than points to learn from, or values that FAISS cannot take.
    """
    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    usable = len(points) if learned is None else int(learned.sum())
    if not 1 <= clusters <= usable:
        raise UserError(f"{clusters} clusters: with {usable} clips, 1 to {usable} clusters can be made")
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
    """Cluster a store's embeddings, as they are (S-SONDO) or scaled to unit length.

    Centroids are made of the clips named in `learned`, or of all; every clip of the store gets a cluster.
    """
    embeddings = store.read_all()
    if normalise:
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True).clip(min=1e-12)
    used = None if learned is None else np.array([clip in learned for clip in store.ids])
    return Clustering(tuple(store.ids), *cluster(embeddings, clusters, seed=seed, learned=used))


def save(clustering: Clustering, folder: Path, origin: dict[str, Any]) -> None:
    """Write `labels.npy`, `centroids.npy` and, last, `clusters.json` with ids, report and origin."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("labels", clustering.labels), ("centroids", clustering.centroids)):
        write_atomically(folder / f"{name}.npy", lambda file, array=array: np.save(file, array))  # type: ignore[misc]
    write_json(folder / "clusters.json", {"origin": origin, "report": clustering.report(), "ids": list(clustering.ids)})


def load(folder: Path, origin: dict[str, Any]) -> Clustering | None:
    """Read what `save` wrote; None where it is not there or was made from something else than `origin`."""
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
