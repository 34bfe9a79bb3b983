"""Balanced sampling without labels: weights of clips from clusters of clusters.

Flat k-means puts most centroids where most clips are. So equal draws of its clusters still prefer the frequent kinds of
sound. Clusters of centroids, resampled near their centres, spread evenly over the space (Vo et al. 2024, "Automatic
Data Curation for Self-Supervised Learning", arXiv 2405.15613). In the paper, the finest level is k-means. Here it may
also be an even cover, whose centres are the clips farthest from all other centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.data.sampling.clusters import check_points, cluster
from distill.data.sampling.weights import distinct_rows

_CLIPS_PER_CLUSTER = 10  # of the finest level
_MIN_CANDIDATES = 20_000  # clips that may become centres of a cover; more for many cells
_NEAREST = 5  # points of a cluster that represent it in resampling
_ITERATIONS = 10  # of k-means; resampling restarts it, and more iterations changed no weight


def hierarchical_weights(
    embeddings: NDArray[np.float32],
    levels: Sequence[int] = (),
    seed: int = 0,
    trees: int = 0,
    shares: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the probability of each clip, the mean over several hierarchies. Shape (clips,), sums to 1.

    The clusters of one hierarchy, and so the share of each kind of sound, depend on the seed. The mean of several
    hierarchies is stable and draws more different clips. Every second hierarchy begins with an even cover. K-means
    follows the density if the frequent sounds fall into many dense groups. A cover gives most cells to the frequent
    sounds if they are one wide cloud. The columns are standardised first, since otherwise the columns with the largest
    values decide. A clip that is listed several times counts once, and its copies share its draws.

    Args:
        embeddings: Shape (clips, dim).
        levels: Number of clusters of each level, the finest first. Empty chooses by the number of different clips.
        seed: Seed of the hierarchies.
        trees: Number of hierarchies. 0 means 30 for up to 3,333 clips, and fewer for more clips, to limit the time.
        shares: Number of clips that each clip counts as, inside its finest cluster, as `collapse_duplicates` returns.
            Shape (clips,). None means that all copies of a clip count as one.

    Raises:
        UserError: the levels do not decrease, there are more clusters than clips, or embeddings are not finite.
    """
    rows, which = distinct_rows(embeddings)
    columns = (embeddings[rows] - embeddings[rows].mean(0)) / (embeddings[rows].std(0) + 1e-6)
    levels = levels or default_levels(len(columns))
    trees = trees or max(2, min(30, 100_000 // len(columns)))
    grown = (hierarchy(columns, levels, seed=seed + 100 * tree, even=tree % 2 == 1) for tree in range(trees))
    if shares is None:
        shares = (1 / np.bincount(which))[which]
    together = np.bincount(which, shares).astype(np.float64)
    weights: NDArray[np.float64] = np.mean([hierarchy_weights(tree, together) for tree in grown], axis=0)
    return (weights / together)[which] * shares


def hierarchy_weights(
    levels: Sequence[NDArray[np.int64]], shares: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the probability of each clip if all clusters of one parent are drawn equally often, from the top down.

    Args:
        levels: Cluster of each point of each level, as `hierarchy` returns.
        shares: Number of clips that each clip counts as, inside its finest cluster. Shape (clips,). None means 1.

    Returns:
        Probabilities that sum to 1. Shape (clips,).
    """
    top = levels[-1]
    weights = np.full(int(top.max()) + 1, 1 / (int(top.max()) + 1))
    for labels in reversed(levels[1:]):
        weights = (weights / np.bincount(labels, minlength=len(weights)))[labels]
    shares = np.ones(len(levels[0])) if shares is None else shares
    return (weights / np.bincount(levels[0], shares, minlength=len(weights)))[levels[0]] * shares


def default_levels(clips: int) -> tuple[int, ...]:
    """Return one cluster per ten clips, up to 10,000, and a tenth of it for each level above, at least ten."""
    sizes = [max(1, min(clips // _CLIPS_PER_CLUSTER, 10_000))]
    while sizes[-1] >= 100:
        sizes.append(sizes[-1] // 10)
    return tuple(sizes)


def hierarchy(
    embeddings: NDArray[np.float32], sizes: Sequence[int], *, resamplings: int = 10, seed: int = 0, even: bool = False
) -> list[NDArray[np.int64]]:
    """Cluster clips by k-means, then the centroids, and so on. Each level is resampled.

    Args:
        embeddings: Shape (clips, dim).
        sizes: Number of clusters of each level, from the finest to the coarsest. Must decrease.
        resamplings: Number of times that each level is clustered again, from the points nearest to its centroids.
        seed: Seed of k-means.
        even: True: the finest level is a `cover`. False: k-means.

    Returns:
        For each level, the cluster of each of its points: of clips (clips,), then of clusters (sizes[0],), ...

    Raises:
        UserError: the sizes do not decrease, there are more clusters than clips, or embeddings are not finite.
    """
    if not sizes or any(fine <= coarse for fine, coarse in pairwise(sizes)):
        raise UserError(f"--sampling.levels {list(sizes)}: must be decreasing numbers, the finest level first")
    levels, points = [], check_points(embeddings, sizes[0])
    for level, size in enumerate(sizes):
        if even and level == 0:
            labels, points = cover(points, size, seed)
        else:  # the level below may have lost empty clusters
            labels, points = _spread(points, min(size, len(points)), resamplings, seed + level)
        levels.append(labels)
    return levels


def cover(embeddings: NDArray[np.float32], cells: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Divide clips into cells of about the same radius, by farthest-first traversal.

    Each new centre is the clip farthest from all centres (Gonzalez 1985, "Clustering to minimize the maximum
    intercluster distance"). Candidates are ten random clips per cell, and at least 20,000. Then every clip belongs to
    the nearest centre.

    Args:
        embeddings: Shape (clips, dim).
        cells: Number of cells. With more than 20,000 clips, the result may have a few less. No cell is empty.
        seed: Seed of the first centre and of the candidates.

    Returns:
        The cell of each clip (clips,), and the centres (cells, dim).

    Raises:
        UserError: there are more cells than clips, or values are not finite.
    """
    points = check_points(embeddings, cells)
    generator = np.random.default_rng(seed)
    candidates = max(_MIN_CANDIDATES, _CLIPS_PER_CLUSTER * cells)
    sample = points
    if len(points) > candidates:
        sample = points[np.sort(generator.choice(len(points), candidates, replace=False))]
    squares = np.square(sample).sum(1)
    distances = np.full(len(sample), np.inf, dtype=np.float32)
    centres = np.empty(cells, dtype=np.int64)
    labels = np.zeros(len(sample), dtype=np.int64)
    farthest = int(generator.integers(len(sample)))
    for cell in range(cells):
        centres[cell] = farthest
        nearer = np.maximum(squares + squares[farthest] - 2 * (sample @ sample[farthest]), 0)
        nearer[farthest] = -1  # below all distances, so that a clip is the centre of at most one cell
        labels[nearer < distances] = cell
        np.minimum(distances, nearer, out=distances)
        farthest = int(distances.argmax())
    if sample is points:
        return labels, points[centres]
    used, labels = np.unique(_assign(points, sample[centres]), return_inverse=True)
    return labels, sample[centres][used]  # a centre that nearly equals another may have no clip


def _spread(
    points: NDArray[np.float32], size: int, resamplings: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cluster by k-means, and again from the points nearest to the centroids. Return labels (points,) and centroids."""
    first, centroids, _ = cluster(points, size, iterations=_ITERATIONS, repeats=1, seed=seed)
    labels = first.astype(np.int64)
    for step in range(resamplings if len(points) > size * 2 else 0):
        near = _nearest(points, labels, centroids)
        step_seed = seed + 1000 * (step + 1)
        _, centroids, _ = cluster(points[near], min(size, len(near)), iterations=_ITERATIONS, repeats=1, seed=step_seed)
        labels = _assign(points, centroids)
    used, numbered = np.unique(labels, return_inverse=True)
    return numbered.astype(np.int64), centroids[used]


def _nearest(
    points: NDArray[np.float32], labels: NDArray[np.integer], centroids: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the rows of the points of each cluster that are nearest to its centroid, sorted."""
    distances = np.square(points - centroids[labels]).sum(1)
    order = np.lexsort((distances, labels))
    begins = np.searchsorted(labels[order], np.arange(len(centroids)))
    rank = np.arange(len(order)) - begins[labels[order]]
    return np.sort(order[rank < _NEAREST])


def _assign(points: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the nearest centroid of each point. Shape (points,)."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    return index.search(points, 1)[1][:, 0]
