"""The order in which training clips are drawn, by the sampling policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.manifest import Manifest
from distill.data.errors import UserError
from distill.data.sampling.clusters import Clustering
from distill.data.sampling.hierarchy import hierarchical_weights
from distill.data.sampling.orders import (
    ClusterOrder,
    Order,
    StratifiedOrder,
    UniformOrder,
    WeightedOrder,
    cluster_weights,
)
from distill.data.sampling.weights import Sampling, cap, collapse_duplicates, effective_number, label_weights, temper
from distill.data.store.reader import EmbeddingStore


@dataclass(frozen=True)
class Knowledge:
    """The inputs of the sampling policies, each computed when a policy needs it.

    Args:
        store: Function that returns the store of the first teacher's embeddings.
        clusters: Function of the training clips that returns the clusters of the store.
    """

    store: Callable[[], EmbeddingStore]
    clusters: Callable[[Manifest], Clustering]


def draw_order(train: Manifest, sampling: Sampling, seed: int, knowledge: Knowledge) -> Order:
    """Return the order of the training clips, and print the effective number of clips of a weighted one.

    Args:
        train: Training clips.
        sampling: Sampling policy.
        seed: Seed of the draws.
        knowledge: Embeddings and clusters of the clips.

    Raises:
        UserError: the policy needs labels and there are none.
    """
    draws = sampling.draws or len(train)
    is_plain = sampling.temper == 1 and not sampling.max_repeats and not sampling.duplicates
    if is_plain and sampling.policy == "uniform":
        return UniformOrder(len(train), seed, draws)
    if is_plain and sampling.policy == "cluster":
        return ClusterOrder(_cluster_labels(train, knowledge), seed, draws)
    weights = clip_weights(train, sampling, seed, knowledge)
    if sampling.max_repeats:
        weights = cap(weights, sampling.max_repeats / draws)
    print(f"sampling: effective number of clips {effective_number(weights):.0f}")
    return (StratifiedOrder if sampling.max_repeats else WeightedOrder)(weights, seed, draws)


def clip_weights(train: Manifest, sampling: Sampling, seed: int, knowledge: Knowledge) -> NDArray[np.float64]:
    """Return the sampling weight of each training clip before the limit on repeats, of shape (clips,)."""
    embeddings, shares = np.empty((0, 0), np.float32), None
    if sampling.policy == "hierarchical" or sampling.duplicates:
        embeddings = knowledge.store()[train.ids]
    if sampling.duplicates:
        shares = collapse_duplicates(embeddings, sampling.duplicates)
    weights = np.ones(len(train)) if shares is None else shares
    if sampling.policy == "label":
        weights = weights * _rarity_weights(train)
    if sampling.policy == "cluster":
        weights = cluster_weights(_cluster_labels(train, knowledge), shares)
    if sampling.policy == "hierarchical":
        weights = hierarchical_weights(embeddings, sampling.levels, seed, shares=shares)
    return temper(weights, sampling.temper)


def _cluster_labels(train: Manifest, knowledge: Knowledge) -> NDArray[np.int32]:
    """Return the cluster of each training clip, of shape (clips,)."""
    return knowledge.clusters(train).labels_of(train.ids)


def _rarity_weights(train: Manifest) -> NDArray[np.float64]:
    """Return a weight of each clip that is higher for rare labels, of shape (clips,)."""
    index = {name: number for number, name in enumerate(train.classes)}
    weights = label_weights([[index[label] for label in row.labels] for row in train.rows])
    if not weights.any():
        raise UserError("--sampling.policy label: no training clip has a label")
    return weights
