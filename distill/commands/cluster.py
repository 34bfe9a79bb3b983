"""`distill cluster`: k-means over a store by FAISS, and a report of the sampling policies without labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from distill.data.files import lock
from distill.data.sampling.clusters import Clustering
from distill.data.sampling.hierarchy import hierarchical_weights
from distill.data.sampling.orders import cluster_weights
from distill.data.sampling.weights import effective_number
from distill.data.store.reader import EmbeddingStore
from distill.data.store.texts import TextIndex, Texts
from distill.run.clusters import clustering_of

_COMPARED = 200_000  # clips that the policies are compared on: memory and time stay small with millions of clips
_NEIGHBOURHOOD = 20_000  # of these, clips that are searched for neighbours


def cluster(
    store: str,
    out: str = "",
    clusters: int = 50,
    levels: Sequence[int] = (),
    data: str | Data = "",
    normalise: bool = False,
    seed: int = 0,
    root: str = "",
    label: str = "",
    split: str = "",
) -> Clustering:
    """Cluster the embeddings of a store, and report the draws of each sampling policy.

    The head is the most frequent kind of clips. With `data` it is the clips of the most frequent label. Otherwise it is
    the tenth of the clips with the nearest neighbours. The smaller its share of the draws, the more evenly a policy
    covers the sounds. Of more than 200,000 clips, the report is about as many random ones.

    Args:
        store: Folder written by `distill embed`.
        out: Folder of the result. Empty: `clusters` in the store.
        clusters: Number of clusters (S-SONDO: 50).
        levels: Number of clusters of each level of the policy "hierarchical", the finest first. Empty: automatic.
        data: Labelled clips of the store, which define the head by their labels. Empty: no labels are used.
        normalise: Scale embeddings to unit length first (S-SONDO: false).
        seed: Seed of k-means.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits of a table. Empty: found by its name.

    Returns:
        The clustering.

    Raises:
        UserError: the folder holds no store, there are more clusters than clips, or the data has no labels.
    """
    from distill.run.pictures import policies_figure, save_figure

    folder, embeddings = Path(out or Path(store) / "clusters"), EmbeddingStore(store)
    compared = _compared(embeddings)
    head, description = _head(compared, Data.of(data, root, label, split), Path(store))
    with lock(folder, "distill cluster"):
        clustering = clustering_of(embeddings, folder, clusters, normalise, seed)
        weights = {
            "uniform": np.full(len(head), 1 / len(head)),
            "cluster": cluster_weights(clustering.labels[compared.rows]),
            "hierarchical": hierarchical_weights(compared.points, levels, seed),
        }
        shares = {policy: float(weight[head].sum()) for policy, weight in weights.items()}
        save_figure(policies_figure(weights, shares, description), folder / "policies.png")
    for measure, value in clustering.report().items():
        print(f"{measure:20} {value}")
    if len(head) < len(embeddings):
        print(f"\nthe policies are compared on {len(head):,} random clips of {len(embeddings):,}")
    print(f"\n{'policy':14} {'head share':>10} {'effective number of clips':>28}   (head: {description})")
    for policy, weight in weights.items():
        print(f"{policy:14} {shares[policy]:10.3f} {effective_number(weight):28.0f}")
    print(f"written to {folder}")
    return clustering


class _Compared(NamedTuple):
    """The clips that the policies are compared on.

    Args:
        rows: Their rows in the store, sorted. Shape (clips,).
        ids: Their ids.
        points: Their embeddings. Shape (clips, dim).
    """

    rows: NDArray[np.int64]
    ids: Texts
    points: NDArray[np.float32]


def _compared(store: EmbeddingStore) -> _Compared:
    """Return all clips of a store, or random ones of a large store."""
    if len(store) <= _COMPARED:
        return _Compared(np.arange(len(store)), store.ids, store.read_all())
    rows = np.sort(np.random.default_rng(0).choice(len(store), _COMPARED, replace=False))
    return _Compared(rows, store.ids.take(rows), store.read_rows(rows))


def _head(compared: _Compared, data: Data, store: Path) -> tuple[NDArray[np.bool_], str]:
    """Return a mask of the clips of the head, of shape (clips,), and a description of the head."""
    if data.path:
        manifest = read_manifest(data).labelled()
        print(summary_of(manifest))
        places = TextIndex(manifest.ids).find_all(compared.ids)
        labels = [manifest.rows[place].labels if place >= 0 else () for place in places.tolist()]
        counts = Counter(label for found in labels for label in found)
        if not counts:
            lack = f"are in {store}" if manifest.classes else "have a label; --label names the column of labels"
            raise UserError(f"--data {data.path}: none of its clips {lack}")
        label = counts.most_common(1)[0][0]
        return np.array([label in found for found in labels]), f"clips labelled {label!r}"
    import faiss

    points, clips = compared.points, np.arange(len(compared.points))
    searched = np.random.default_rng(0).permutation(clips)[:_NEIGHBOURHOOD]
    index = faiss.IndexFlatL2(points.shape[1])
    index.add(points[searched])
    distances = index.search(points, min(11, len(searched)))[0]
    # The first neighbour of a searched clip is the clip itself.
    farthest = np.where(np.isin(clips, searched), distances[:, -1], distances[:, max(-2, -len(searched))])
    return farthest <= np.quantile(farthest, 0.1), "the tenth of the clips with the nearest neighbours"
