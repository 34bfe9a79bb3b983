"""Distances between a prediction and a target, both (..., dim). Each loss is a mean over all leading dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Return one minus the mean cosine similarity, a scalar (S-SONDO, section 2.2: the paper's choice)."""
    return 1.0 - F.cosine_similarity(prediction.float(), target.float(), dim=-1).mean()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over all elements, a scalar."""
    return F.mse_loss(prediction.float(), target.float())


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error over all elements, a scalar."""
    return F.l1_loss(prediction.float(), target.float())
