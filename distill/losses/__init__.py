"""Losses between embeddings: tensors in, a scalar out. They know no model, no batch and no configuration.

A loss is a function, or a module with options, of prediction and target (rows, dim). One with `needs_clusters` gets the
cluster of each row too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distill.data.encoders.registry import Registry
from distill.data.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "Tensor"]

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


def build_loss(spec: str | Mapping[str, Any]) -> Loss:
    """A loss from its name or from {class_path, init_args}. Raises UserError."""
    found: Any = LOSSES.find(spec if isinstance(spec, str) else str(spec.get("class_path")))
    if not isinstance(found, type):
        return found
    try:
        return LOSSES.build(spec)  # type: ignore[return-value]
    except ValueError as error:
        raise UserError(f"--objective.loss: {error}") from error
