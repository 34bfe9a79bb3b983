"""The weights that training clips are drawn with, and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError

POLICIES = ("uniform", "cluster", "hierarchical", "label")
_PAIRS_PER_PART = 1 << 25  # pairs of clips that are compared together
_ROWS_PER_PART = 4096  # rows that are hashed together
_COSINE_ERROR = 1e-6  # rounding error of a cosine in single precision


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling: how training clips are drawn.

    Args:
        policy: "uniform"; "cluster": every cluster of the teacher's embeddings equally often (S-SONDO);
            "hierarchical": clusters of clusters, half of them from an even cover, which is more even over all kinds of
            sound; or "label": rare labels more often (EfficientAT).
        clusters: Number of clusters.
        levels: Number of clusters of each level of the hierarchy, the finest level first. Empty chooses by the number
            of clips.
        temper: From 0 (uniform) to 1 (the weights of the policy).
        max_repeats: Largest number of draws of a clip in an epoch. A fraction is rounded up. 0 sets no limit.
        duplicates: Clips with at least this cosine are duplicates, which share the draws of one clip. 0 disables this.
        draws: Draws in an epoch. 0 means the number of clips.
        by_length: Whether a batch has clips of similar length, which saves padding. The draws do not change. Batch
            normalisation then keeps its statistics in the last quarter of the steps. None: as the student says.
    """

    policy: str = "uniform"
    clusters: int = 50
    levels: tuple[int, ...] = ()
    temper: float = 1.0
    max_repeats: float = 0.0
    duplicates: float = 0.0
    draws: int = 0
    by_length: bool | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: must be one of {', '.join(POLICIES)}")
        if not 0 <= self.temper <= 1 or not 0 <= self.duplicates <= 1 or self.max_repeats < 0:
            raise ValueError("sampling: temper and duplicates must be from 0 to 1, and max_repeats at least 0")

    @property
    def needs_store(self) -> str:
        """Name of the data that is computed from the teacher's embeddings. Empty if there is none."""
        if self.policy in ("cluster", "hierarchical"):
            return "clusters"
        return "near-duplicates" if self.duplicates else ""


def label_weights(labels: Sequence[Sequence[int]], offset: float = 100.0) -> NDArray[np.float64]:
    """Return EfficientAT's and PaSST's weights: the sum over a clip's labels of 1000 / (offset + clips of the label).

    Args:
        labels: Classes of each clip, as numbers from 0.
        offset: Reduces the weight of rare classes.

    Returns:
        Weights that are not normalised; 0 for clips without labels. Shape (clips,).
    """
    counts = np.bincount(np.array([label for clip in labels for label in clip], dtype=np.int64))
    return np.array([sum(1000.0 / (offset + counts[label]) for label in clip) for clip in labels], dtype=np.float64)


def temper(weights: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Return weights between uniform (strength 0) and unchanged (1), on a logarithmic scale. They sum to 1."""
    tempered = np.where(weights > 0, weights**strength, 0.0)
    return tempered / tempered.sum()


def cap(weights: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Return weights of at most `limit`. The excess is distributed over the other clips. They sum to 1.

    Raises:
        UserError: the limit is below an equal share, so the weights cannot sum to 1.
    """
    usable = np.count_nonzero(weights)
    if limit * usable < 1:
        raise UserError(f"--sampling.max_repeats: {usable} clips with so few repeats cannot fill an epoch")
    weights = weights / weights.sum()
    while (weights > limit * (1 + 1e-9)).any():
        full = weights >= limit
        rest = weights[~full].sum()
        weights = np.where(full, limit, weights * ((1 - limit * full.sum()) / rest))
    return weights


def collapse_duplicates(embeddings: NDArray[np.float32], similarity: float) -> NDArray[np.float64]:
    """Return 1 / (number of near-duplicates of each clip, with the clip itself). Shape (clips,).

    Args:
        embeddings: Shape (clips, dim).
        similarity: Clips with at least this cosine are near-duplicates.
    """
    rows, which = distinct_rows(embeddings)
    copies = np.bincount(which).astype(np.float32)
    unit = embeddings[rows] / np.linalg.norm(embeddings[rows], axis=1, keepdims=True).clip(min=1e-12)
    duplicates = [
        np.float32(part @ unit.T >= similarity - _COSINE_ERROR) @ copies  # in parts, since all pairs exceed memory
        for part in np.array_split(unit, 1 + len(unit) ** 2 // _PAIRS_PER_PART)
    ]
    return (1.0 / np.maximum(np.concatenate(duplicates), copies, dtype=np.float64))[which]


def distinct_rows(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find equal embeddings, by a hash of 64 bits.

    Args:
        embeddings: Shape (clips, dim).

    Returns:
        The first row of each distinct embedding (distinct,), and the index into it of each clip (clips,).
    """
    factors = np.random.default_rng(0).integers(1 << 63, size=embeddings.shape[1], dtype=np.uint64)
    bits = np.ascontiguousarray(embeddings, dtype=np.float32).view(np.uint32)
    parts = np.array_split(bits, 1 + len(bits) // _ROWS_PER_PART)
    keys = np.concatenate([(part * factors).sum(1, dtype=np.uint64) for part in parts])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = first.argsort()
    return first[order], order.argsort()[which]


def effective_number(weights: NDArray[np.float64]) -> float:
    """Return the exponential of the entropy of the weights: the number of equal weights with the same entropy."""
    shares = weights[weights > 0] / weights.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
