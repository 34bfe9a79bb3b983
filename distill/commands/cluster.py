"""`distill cluster`: FAISS k-means over a store, with a report of what the clusters look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill.data.clusters import Clustering, cluster_store, load, save
from distill.data.files import lock
from distill.data.store import EmbeddingStore


def cluster(store: str, out: str = "", clusters: int = 50, normalise: bool = False, seed: int = 0) -> Clustering:
    """Cluster the embeddings of a store.

    Args:
        store: Folder written by `distill embed`.
        out: Folder of the result; by default `clusters` in the store.
        clusters: How many (S-SONDO: 50).
        normalise: Scale embeddings to unit length first; S-SONDO does not.
        seed: Of k-means.

    Returns:
        The clustering.

    Raises:
        UserError: no store there, or more clusters than clips.
    """
    folder = Path(out or Path(store) / "clusters")
    with lock(folder, "distill cluster"):
        clustering = clustering_of(EmbeddingStore(store), folder, clusters, normalise, seed)
    for name, value in clustering.report().items():
        print(f"{name:20} {value}")
    print(f"written to {folder}")
    return clustering


def clustering_of(store: EmbeddingStore, folder: Path, clusters: int, normalise: bool, seed: int) -> Clustering:
    """Read the clustering in `folder` where it was made from this store in this way; else make it and its picture."""
    origin: dict[str, Any] = {"store": store.digest, "clusters": clusters, "normalise": normalise, "seed": seed}
    if (known := load(folder, origin)) is not None:
        return known
    from distill.pictures import draw_clusters

    clustering = cluster_store(store, clusters, normalise=normalise, seed=seed)
    save(clustering, folder, origin)
    draw_clusters(clustering, folder / "clusters.png")
    return clustering
