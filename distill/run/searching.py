"""Search of a store: the rows that are nearest to a vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.store.reader import EmbeddingStore


class Match(NamedTuple):
    """A clip that a search found.

    Args:
        id: Id of the clip.
        cosine: Its cosine with the query.
    """

    id: str
    cosine: float


def nearest(store: EmbeddingStore, query: NDArray[np.float32], count: int, standardised: bool) -> list[Match]:
    """Return the rows of a store with the greatest cosine, the greatest first. Memory does not grow with the store.

    Args:
        store: The store.
        query: Shape (dim,).
        count: Number of rows, at least 1. A smaller store gives all its rows.
        standardised: Whether each column of query and rows gets mean 0 and variance 1, by the rows of the store.
    """
    mean, scale = _statistics(store) if standardised else (np.zeros(store.dim), np.ones(store.dim))
    direction = _unit(((query - mean) / scale)[None])[0]
    best: list[Match] = []
    for ids, vectors in store.blocks():
        cosines = _unit((vectors - mean) / scale) @ direction
        rows = np.argsort(-cosines, kind="stable")[:count].tolist()
        best += [Match(ids[row], float(cosines[row])) for row in rows]
        best = sorted(best, key=lambda match: -match.cosine)[:count]
    return best


def _statistics(store: EmbeddingStore) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of each column and its deviation, which is not nearly 0. Shapes (dim,)."""
    rows, mean, squares = 0, np.zeros(store.dim), np.zeros(store.dim)
    for _, vectors in store.blocks():  # Chan, Golub and LeVeque 1979
        block, total = vectors.astype(np.float64), rows + len(vectors)
        shift = block.mean(0) - mean
        squares += np.square(block - block.mean(0)).sum(0) + np.square(shift) * rows * len(block) / total
        mean, rows = mean + shift * len(block) / total, total
    variance = squares / max(1, rows)
    # A constant column says nothing; its rounding errors must not be amplified.
    return mean, np.sqrt(np.maximum(variance, 1e-6 * variance.mean() + 1e-12))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows of length 1; a zero row stays zero."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
