"""The clustering of a store, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.sampling.clusters import Clustering, cluster_store, load, save
from distill.data.store.format import read_json
from distill.data.store.reader import EmbeddingStore


def clustering_of(
    store: EmbeddingStore,
    folder: Path,
    clusters: int,
    normalise: bool,
    seed: int,
    learned: Iterable[str] | None = None,
) -> Clustering:
    """Return the clustering of a store from `folder`, computing it first if needed.

    A stored clustering is used if its store and its arguments are the same. Otherwise a new one is written, with a
    picture of the cluster sizes.

    Args:
        store: Embeddings to cluster.
        folder: Folder of the clustering.
        clusters: Number of clusters.
        normalise: Whether embeddings are scaled to unit length first.
        seed: Seed of k-means.
        learned: Ids of the clips from which the centroids are computed. None means all clips.
    """
    origin: dict[str, Any] = {"store": store.digest, "clusters": clusters, "normalise": normalise, "seed": seed}
    rows = None
    if learned is not None:
        found = np.sort(store.rows_of(learned))
        rows = found[found >= 0]
        origin["learned"] = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
    if (stored := load(folder, origin, store.ids)) is not None:
        return stored
    from distill.run.pictures import draw_clusters

    clustering = cluster_store(store, clusters, normalise=normalise, seed=seed, learned=rows)
    save(clustering, folder, origin)
    draw_clusters(clustering, folder / "clusters.png")
    return clustering


def kept_clustering(store: EmbeddingStore) -> Clustering | None:
    """Return the clustering that `distill cluster` wrote into a store. None: there is none of its present clips."""
    folder = store.path / "clusters"
    if not (folder / "clusters.json").is_file():
        return None
    origin = read_json(folder / "clusters.json")["origin"]
    return load(folder, origin, store.ids) if origin["store"] == store.digest else None
