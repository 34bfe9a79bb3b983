"""Losses between embeddings: tensors in, a scalar out. They know no model, no batch and no configuration.

A loss is a function, or a module with options, of prediction and target (rows, dim). One with `needs_clusters` gets the
cluster of each row too.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from distill.data.registry import Registry

Loss = Callable[..., Tensor]

LOSSES: Registry[Tensor] = Registry(
    "loss",
    {
        "cluster_aware": "distill.losses.contrastive:ClusterAware",
        "contrastive": "distill.losses.contrastive:Contrastive",
        "cosine": "distill.losses.regression:cosine",
        "decoupled": "distill.losses.contrastive:Decoupled",
        "hybrid": "distill.losses.contrastive:Hybrid",
        "kl": "distill.losses.contrastive:KullbackLeibler",
        "l1": "distill.losses.regression:l1",
        "mse": "distill.losses.regression:mse",
        "other_clusters": "distill.losses.contrastive:OtherClusters",
        "relational": "distill.losses.contrastive:Relational",
    },
)
