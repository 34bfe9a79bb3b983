"""Losses between embeddings: tensors in, a scalar out. They know no model, no batch and no configuration."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from distill.data.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: Registry[Tensor] = Registry(
    "loss",
    {
        "cosine": "distill.losses.regression:cosine",
        "mse": "distill.losses.regression:mse",
        "l1": "distill.losses.regression:l1",
    },
)
