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


def nearest(store: EmbeddingStore, query: NDArray[np.float32], count: int, centred: bool) -> list[Match]:
    """Return the rows of a store with the greatest cosine, the greatest first. Memory does not grow with the store.

    Args:
        store: The store.
        query: Shape (dim,).
        count: Number of rows, at least 1. A smaller store gives all its rows.
        centred: Whether the mean of the store is subtracted from the query and from all rows.
    """
    mean = np.zeros(store.dim)
    if centred:
        for _, vectors in store.blocks():
            mean += vectors.sum(0, dtype=np.float64) / max(1, len(store))
    direction = _unit((query - mean)[None])[0]
    best: list[Match] = []
    for ids, vectors in store.blocks():
        cosines = _unit(vectors - mean) @ direction
        rows = np.argsort(-cosines, kind="stable")[:count].tolist()
        best += [Match(ids[row], float(cosines[row])) for row in rows]
        best = sorted(best, key=lambda match: -match.cosine)[:count]
    return best


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return rows of length 1; a zero row stays zero."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
