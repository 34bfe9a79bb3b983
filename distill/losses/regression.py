"""Distances between a prediction and a target, both (..., dim). Each loss is a mean over all leading dimensions."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Distance = Callable[[Tensor, Tensor], Tensor]
Constant = Callable[[Tensor], Tensor]


def _with_constant(constant: Constant) -> Callable[[Distance], Distance]:
    """Set the attribute `constant` of a loss: the function that returns the best constant prediction. A decorator."""

    def add(loss: Distance) -> Distance:
        loss.constant = constant  # type: ignore[attr-defined]
        return loss

    return add


def mean_direction(targets: Tensor) -> Tensor:
    """Return the mean (dim,) of targets (rows, dim) scaled to length 1. No constant has a higher mean cosine."""
    return F.normalize(targets.float(), dim=1).mean(0)


def mean(targets: Tensor) -> Tensor:
    """Return the mean (dim,) of targets (rows, dim). No constant has a lower mean squared error."""
    return targets.float().mean(0)


def median(targets: Tensor) -> Tensor:
    """Return the median (dim,) of each column of (rows, dim). No constant has a lower mean absolute error."""
    return targets.float().median(0).values


@_with_constant(mean_direction)
def cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Return one minus the mean cosine similarity, a scalar (S-SONDO, section 2.2: the paper's choice)."""
    return 1.0 - F.cosine_similarity(prediction.float(), target.float(), dim=-1).mean()


@_with_constant(mean)
def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over all elements, a scalar."""
    return F.mse_loss(prediction.float(), target.float())


@_with_constant(median)
def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error over all elements, a scalar."""
    return F.l1_loss(prediction.float(), target.float())
