"""Distances of a prediction from its target. Shapes: (..., dim) both; the mean is over all that stands before."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine similarity (S-SONDO, section 2.2: the paper's choice)."""
    return 1.0 - F.cosine_similarity(prediction.float(), target.float(), dim=-1).mean()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error, mean over all elements."""
    return F.mse_loss(prediction.float(), target.float())


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error, mean over all elements."""
    return F.l1_loss(prediction.float(), target.float())
