"""Distances between a prediction and a target, both (..., dim). Each loss is a mean over all leading dimensions."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Distance = Callable[[Tensor, Tensor], Tensor]
Constant = Callable[[Tensor], Tensor]
_CLIPPED_MEAN_STEPS = 20  # each step takes away the share of the error that is the share of unclipped differences


def _with_constant(constant: Constant) -> Callable[[Distance], Distance]:
    """Set the attributes of a mean over rows, with the function that returns the best constant prediction. A decorator.

    They are those of `distill.losses`: `averages_rows` and `constant`.
    """

    def add(loss: Distance) -> Distance:
        loss.averages_rows = True  # type: ignore[attr-defined]
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


def clipped_mean(targets: Tensor) -> Tensor:
    """Return the value (dim,) with the lowest mean smooth L1 distance from targets (rows, dim).

    It lies between median and mean. There, the differences clipped to -1 and 1 have the mean 0.
    """
    value = median(targets)
    for _ in range(_CLIPPED_MEAN_STEPS):
        value = value + (targets.float() - value).clamp(-1, 1).mean(0)
    return value


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


@_with_constant(clipped_mean)
def smooth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean smooth L1 distance over all elements, a scalar: quadratic below a difference of 1."""
    return F.smooth_l1_loss(prediction.float(), target.float())


class CosineSmoothL1(nn.Module):
    """Weighted sum of a cosine and a smooth L1 distance. The weights of C-RADIOv4 are the defaults.

    Args:
        cosine: Weight of the cosine distance, at least 0.
        smooth_l1: Weight of the smooth L1 distance, at least 0.

    Raises:
        ValueError: a weight is below 0.
    """

    averages_rows = True

    def __init__(self, cosine: float = 0.9, smooth_l1: float = 0.1) -> None:
        super().__init__()
        if min(cosine, smooth_l1) < 0:
            raise ValueError(f"cosine {cosine} and smooth_l1 {smooth_l1}: must be at least 0")
        self.weights = (cosine, smooth_l1)

    def constant(self, targets: Tensor) -> Tensor:
        """Return the prediction (dim,) in the best direction for the cosine, as long as the mean in this direction.

        For standardised targets, no constant is better by more than a few thousandths of the loss.
        """
        direction = F.normalize(mean_direction(targets), dim=0)
        return direction * (mean(targets) @ direction).clamp(min=1e-3)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum, a scalar."""
        return self.weights[0] * cosine(prediction, target) + self.weights[1] * smooth_l1(prediction, target)
