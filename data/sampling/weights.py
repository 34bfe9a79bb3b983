"""How often each clip is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError

_PAIRS = 1 << 25  # of clips that are compared at a time


_ROUNDING = 1e-6  # of a cosine of numbers in single precision


_AT_ONCE = 4096  # rows whose products with 64-bit factors are held in memory


def _different(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of (clips, dim) in which an embedding comes for the first time, and for each clip which of them it has.

    Told apart by a hash of 64 bits.
    """
    factors = np.random.default_rng(0).integers(1 << 63, size=embeddings.shape[1], dtype=np.uint64)
    bits = np.ascontiguousarray(embeddings, dtype=np.float32).view(np.uint32)
    parts = np.array_split(bits, 1 + len(bits) // _AT_ONCE)
    keys = np.concatenate([(part * factors).sum(1, dtype=np.uint64) for part in parts])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    order = first.argsort()
    return first[order], order.argsort()[which]


def effective_number(weights: NDArray[np.float64]) -> float:
    """The exponent of the entropy of probabilities: how many equal ones would be as varied."""
    shares = weights[weights > 0] / weights.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def label_weights(labels: Sequence[Sequence[int]], offset: float = 100.0) -> NDArray[np.float64]:
    """EfficientAT's and PaSST's: each clip weighs the sum over its labels of 1000 / (offset + clips of the label).

    Args:
        labels: Classes of each clip, as numbers from 0.
        offset: Makes rare classes less heavy.

    Returns:
        Weights, not scaled; 0 for clips without labels. Shape (clips,).
    """
    counts = np.bincount(np.array([label for clip in labels for label in clip], dtype=np.int64))
    return np.array([sum(1000.0 / (offset + counts[label]) for label in clip) for clip in labels], dtype=np.float64)


def temper(weights: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Between uniform (0) and the weights as they are (1), on a logarithmic scale. Sums to 1."""
    tempered = np.where(weights > 0, weights**strength, 0.0)
    return tempered / tempered.sum()


def cap(weights: NDArray[np.float64], most: float) -> NDArray[np.float64]:
    """The same weights, none above `most`; what is taken from those is given to the others. Sums to 1.

    Raises:
        UserError: `most` is less than an equal share, so no weights can keep to it.
    """
    usable = np.count_nonzero(weights)
    if most * usable < 1:
        raise UserError(f"--sampling.max_repeats: {usable} clips drawn so seldom cannot fill an epoch")
    weights = weights / weights.sum()
    while (weights > most * (1 + 1e-9)).any():
        full = weights >= most
        rest = weights[~full].sum()
        weights = np.where(full, most, weights * ((1 - most * full.sum()) / rest))
    return weights


def collapse_duplicates(embeddings: NDArray[np.float32], similarity: float) -> NDArray[np.float64]:
    """One over the number of clips that are nearly the same as each, itself included. Shape (clips,).

    Args:
        embeddings: Shape (clips, dim).
        similarity: Cosine from which two clips are nearly the same.
    """
    rows, which = _different(embeddings)
    copies = np.bincount(which).astype(np.float32)
    unit = embeddings[rows] / np.linalg.norm(embeddings[rows], axis=1, keepdims=True).clip(min=1e-12)
    alike = [
        np.float32(part @ unit.T >= similarity - _ROUNDING) @ copies  # a part at a time: pairs are as many as squared
        for part in np.array_split(unit, 1 + len(unit) ** 2 // _PAIRS)
    ]
    return (1.0 / np.maximum(np.concatenate(alike), copies, dtype=np.float64))[which]


POLICIES = ("uniform", "cluster", "hierarchical", "label")


@dataclass(frozen=True)
class Sampling:
    """How training clips are drawn.

    Args:
        policy: "uniform"; "cluster": every cluster of the teacher's embeddings equally often (S-SONDO);
            "hierarchical": clusters of clusters, half of them of an even cover, which spread more evenly over all
            kinds of sound; or "label": rare labels more often (EfficientAT).
        clusters: How many clusters.
        levels: Clusters of each level of the hierarchy, the finest first; none chooses by the number of clips.
        temper: From 0, uniform, to 1, the policy as it is.
        max_repeats: Times that a clip is drawn in an epoch at the most, a fraction rounded up; 0 sets no limit.
        duplicates: Cosine from which clips are duplicates that share the draws of one; 0 looks for none.
        draws: Clips in an epoch; 0 is as many as there are.
    """

    policy: str = "uniform"
    clusters: int = 50
    levels: tuple[int, ...] = ()
    temper: float = 1.0
    max_repeats: float = 0.0
    duplicates: float = 0.0
    draws: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: one of {', '.join(POLICIES)} is wanted")
        if not 0 <= self.temper <= 1 or not 0 <= self.duplicates <= 1 or self.max_repeats < 0:
            raise ValueError("sampling: temper and duplicates lie from 0 to 1, and max_repeats is not below 0")

    @property
    def needs_store(self) -> str:
        """What is made from the teacher's stored embeddings, in words, where something is."""
        if self.policy in ("cluster", "hierarchical"):
            return "clusters"
        return "near-duplicates" if self.duplicates else ""
