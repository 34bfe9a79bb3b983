"""Cluster the embeddings of a store, once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from distill.data.fingerprint import digest
from distill.data.sampling.clusters import Clustering, cluster_store, load, save
from distill.data.store.reader import EmbeddingStore


def clustering_of(
    store: EmbeddingStore,
    folder: Path,
    clusters: int,
    normalise: bool,
    seed: int,
    learned: Collection[str] | None = None,
) -> Clustering:
    """Read the clustering in `folder` where it was made from this store in this way; else make it and its picture.

    Centroids are made of the clips named in `learned`; None is all.
    """
    origin: dict[str, Any] = {"store": store.digest, "clusters": clusters, "normalise": normalise, "seed": seed}
    if learned is not None:
        origin["learned"] = digest(sorted(learned))
    if (known := load(folder, origin)) is not None:
        return known
    from distill.run.pictures import draw_clusters

    clustering = cluster_store(store, clusters, normalise=normalise, seed=seed, learned=learned)
    save(clustering, folder, origin)
    draw_clusters(clustering, folder / "clusters.png")
    return clustering
