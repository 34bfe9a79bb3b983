"""Balanced draws without labels: clusters of clusters, and weights of clips.

Flat k-means puts most centroids where most clips are, so drawing its clusters equally often still draws mostly what
there is most of. Clusters of centroids, resampled near their centres, spread over the space instead (Vo et al. 2024,
"Automatic Data Curation for Self-Supervised Learning", arXiv 2405.15613). There the finest level is k-means too; here
it may be an even cover, in which a clip becomes a centre for being far from all others, and not for having many near.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.data.sampling.clusters import check_points, cluster
from distill.data.sampling.weights import _different

_CLIPS_PER_CLUSTER = 10  # of the finest level
_COVERED = 20_000  # clips among which centres of cells are looked for, or more where there are more cells
_NEAREST = 5  # points of a cluster that stand for it when it is resampled
_ITERATIONS = 10  # of k-means; it soon begins anew from resampled points, and more of them changed no share


def hierarchy(
    embeddings: NDArray[np.float32], sizes: Sequence[int], *, resamplings: int = 10, seed: int = 0, even: bool = False
) -> list[NDArray[np.int64]]:
    """K-means on clips, then on the centroids, and so on, each level resampled.

    Args:
        embeddings: Shape (clips, dim).
        sizes: Clusters of each level, from the finest to the coarsest, each smaller than the one before.
        resamplings: Times that each level is clustered again from the points nearest to its centroids.
        seed: Of k-means.
        even: The finest level is a `cover` instead.

    Returns:
        For each level the cluster of each of its points: of clips (clips,), then of the clusters below (sizes[0],), ...

    Raises:
        UserError: sizes that do not fall, more clusters than clips, or embeddings that are not finite.
    """
    if not sizes or any(fine <= coarse for fine, coarse in pairwise(sizes)):
        raise UserError(f"--sampling.levels {list(sizes)}: numbers that fall are wanted, the finest level first")
    levels, points = [], check_points(embeddings, sizes[0])
    for level, size in enumerate(sizes):
        if even and level == 0:
            labels, points = cover(points, size, seed)
        else:  # clusters of the level below that were left without a point are gone
            labels, points = _spread(points, min(size, len(points)), resamplings, seed + level)
        levels.append(labels)
    return levels


def cover(embeddings: NDArray[np.float32], cells: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Cells of about the same radius, each around a clip: the next centre is the clip farthest from all before.

    Farthest-first traversal (Gonzalez 1985, "Clustering to minimize the maximum intercluster distance"). Centres come
    from ten clips a cell and from no fewer than 20,000, drawn with `seed`; then every clip belongs to the nearest.

    Args:
        embeddings: Shape (clips, dim).
        cells: How many, or a few less of many clips; none is empty.
        seed: Of the first centre, and of what is drawn.

    Returns:
        Cell of each clip (clips,), centres (cells, dim).

    Raises:
        UserError: more cells than clips, or values that are not finite.
    """
    points = check_points(embeddings, cells)
    generator = np.random.default_rng(seed)
    most = max(_COVERED, _CLIPS_PER_CLUSTER * cells)
    sample = points if len(points) <= most else points[np.sort(generator.choice(len(points), most, replace=False))]
    squares = np.square(sample).sum(1)
    distances = np.full(len(sample), np.inf, dtype=np.float32)
    centres = np.empty(cells, dtype=np.int64)
    labels = np.zeros(len(sample), dtype=np.int64)
    farthest = int(generator.integers(len(sample)))
    for cell in range(cells):
        centres[cell] = farthest
        nearer = np.maximum(squares + squares[farthest] - 2 * (sample @ sample[farthest]), 0)
        nearer[farthest] = -1  # below any other: a clip is the centre of one cell at the most
        labels[nearer < distances] = cell
        np.minimum(distances, nearer, out=distances)
        farthest = int(distances.argmax())
    if sample is points:
        return labels, points[centres]
    used, labels = np.unique(_assign(points, sample[centres]), return_inverse=True)
    return labels, sample[centres][used]  # of centres that are nearly the same one may be left without a clip


def _spread(
    points: NDArray[np.float32], size: int, resamplings: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """K-means, again and again on the points nearest to the last centroids. Labels (points,), centroids."""
    first, centroids, _ = cluster(points, size, iterations=_ITERATIONS, repeats=1, seed=seed)
    labels = first.astype(np.int64)
    for step in range(resamplings if len(points) > size * 2 else 0):
        near = _nearest(points, labels, centroids)
        again = seed + 1000 * (step + 1)
        _, centroids, _ = cluster(points[near], min(size, len(near)), iterations=_ITERATIONS, repeats=1, seed=again)
        labels = _assign(points, centroids)
    used, numbered = np.unique(labels, return_inverse=True)
    return numbered.astype(np.int64), centroids[used]


def _nearest(
    points: NDArray[np.float32], labels: NDArray[np.integer], centroids: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Rows of the few points of each cluster that lie nearest to its centroid, in order."""
    distances = np.square(points - centroids[labels]).sum(1)
    order = np.lexsort((distances, labels))
    begins = np.searchsorted(labels[order], np.arange(len(centroids)))
    rank = np.arange(len(order)) - begins[labels[order]]
    return np.sort(order[rank < _NEAREST])


def _assign(points: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int64]:
    """The nearest centroid of each point. Shape (points,)."""
    import faiss

    index = faiss.IndexFlatL2(points.shape[1])
    index.add(np.ascontiguousarray(centroids))
    return index.search(points, 1)[1][:, 0]


def default_levels(clips: int) -> tuple[int, ...]:
    """A cluster for every ten clips, up to 10,000, and a tenth as many in each level above, ten at the least."""
    sizes = [max(1, min(clips // _CLIPS_PER_CLUSTER, 10_000))]
    while sizes[-1] >= 100:
        sizes.append(sizes[-1] // 10)
    return tuple(sizes)


def hierarchical_weights(
    embeddings: NDArray[np.float32],
    levels: Sequence[int] = (),
    seed: int = 0,
    trees: int = 0,
    shares: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Probability of each clip in the mean of several hierarchies. Shape (clips,), sums to 1.

    A tree's clusters fall differently with each seed, and with them the share of every kind of sound; the mean of
    several is steady, and draws more different clips. Every second tree begins with an even cover: k-means goes on
    following the density where a head falls into many dense groups, and a cover gives most of its cells to a head that
    is one wide cloud. Columns are standardised first: those with the largest numbers would decide alone. A clip that
    is listed several times counts once, and its copies share its draws.

    Args:
        embeddings: Shape (clips, dim).
        levels: Clusters of each level, the finest first; none chooses by the number of different clips.
        seed: Of the trees.
        trees: How many hierarchies; 0 is thirty for up to 3,333 clips, and fewer for more, of which each costs more.
        shares: For how many clips each counts inside its finest cluster, as `collapse_duplicates` says; None is one
            for all copies together. Shape (clips,).

    Raises:
        UserError: levels that do not fall, more clusters than clips, or embeddings that are not finite.
    """
    rows, which = _different(embeddings)
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
    """Probability of each clip when every cluster is drawn as often as its siblings, from the top down. Sums to 1.

    `shares` (clips,) says for how many clips each counts inside its finest cluster.
    """
    top = levels[-1]
    weights = np.full(int(top.max()) + 1, 1 / (int(top.max()) + 1))
    for labels in reversed(levels[1:]):
        weights = (weights / np.bincount(labels, minlength=len(weights)))[labels]
    shares = np.ones(len(levels[0])) if shares is None else shares
    return (weights / np.bincount(levels[0], shares, minlength=len(weights)))[levels[0]] * shares
