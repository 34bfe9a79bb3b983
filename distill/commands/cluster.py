"""`distill cluster`: FAISS k-means over a store, with a report of what sampling without labels would draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from distill.data.files import lock
from distill.data.sampling.clusters import Clustering
from distill.data.sampling.hierarchy import hierarchical_weights
from distill.data.sampling.orders import cluster_weights
from distill.data.sampling.weights import effective_number
from distill.data.store.reader import EmbeddingStore
from distill.run.clusters import clustering_of

_NEIGHBOURHOOD = 20_000  # clips among which neighbours are looked for, so that millions can be


def cluster(
    store: str,
    out: str = "",
    clusters: int = 50,
    levels: Sequence[int] = (),
    data: str = "",
    normalise: bool = False,
    seed: int = 0,
) -> Clustering:
    """Cluster the embeddings of a store, and say what the sampling policies would draw from it.

    The head is what there is most of: with `data` the clips of the commonest label, else the tenth of the clips whose
    neighbourhood is densest. Its share of the draws tells how evenly a policy covers the sounds.

    Args:
        store: Folder written by `distill embed`.
        out: Folder of the result; by default `clusters` in the store.
        clusters: How many (S-SONDO: 50).
        levels: Clusters of each level of the policy "hierarchical", the finest first; none chooses.
        data: Where the store was made from labelled clips: they, for the share of the commonest label.
        normalise: Scale embeddings to unit length first; S-SONDO does not.
        seed: Of k-means.

    Returns:
        The clustering.

    Raises:
        UserError: no store there, more clusters than clips, or data without labels.
    """
    from distill.run.pictures import policies_figure, save_figure

    folder, embeddings = Path(out or Path(store) / "clusters"), EmbeddingStore(store)
    head, name = _head(embeddings, data)
    with lock(folder, "distill cluster"):
        clustering = clustering_of(embeddings, folder, clusters, normalise, seed)
        weights = {
            "uniform": np.full(len(embeddings), 1 / len(embeddings)),
            "cluster": cluster_weights(clustering.labels),
            "hierarchical": hierarchical_weights(embeddings.read_all(), levels, seed),
        }
        shares = {policy: float(weight[head].sum()) for policy, weight in weights.items()}
        save_figure(policies_figure(weights, shares, name), folder / "policies.png")
    for measure, value in clustering.report().items():
        print(f"{measure:20} {value}")
    print(f"\n{'policy':14} {'head share':>10} {'as varied as so many clips':>28}   (head: {name})")
    for policy, weight in weights.items():
        print(f"{policy:14} {shares[policy]:10.3f} {effective_number(weight):28.0f}")
    print(f"written to {folder}")
    return clustering


def _head(store: EmbeddingStore, data: str) -> tuple[NDArray[np.bool_], str]:
    """Which clips are the head, and what it is."""
    if data:
        labels = {row.id: row.labels for row in read_manifest(data).labelled().rows}
        counts = Counter(label for clip in store.ids for label in labels.get(clip, ()))
        if not counts:
            raise UserError(f"--data {data}: none of its clips is in {store.path}")
        commonest = counts.most_common(1)[0][0]
        return np.array([commonest in labels.get(clip, ()) for clip in store.ids]), f"clips labelled {commonest!r}"
    import faiss

    points, clips = store.read_all(), np.arange(len(store))
    beside = np.random.default_rng(0).permutation(clips)[:_NEIGHBOURHOOD]
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points[beside])
    distances = index.search(points, min(11, len(beside)))[0]
    reach = np.where(np.isin(clips, beside), distances[:, -1], distances[:, max(-2, -len(beside))])  # first is itself
    return reach <= np.quantile(reach, 0.1), "the tenth of the clips with the nearest neighbours"
