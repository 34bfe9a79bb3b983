"""The yardsticks of a loss: the best constant prediction, and the recall of own targets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.objectives.parts.statistics import RunningStatistics

_MAX_RANKED = 512  # the similarities of all pairs grow with the square of the rows
_MIN_YARDSTICK = 3e-7  # below it, the targets are equal up to the rounding of a cosine


class BestConstant(RunningStatistics):
    """The constant prediction with the lowest loss over the data.

    In training, it is that of all targets so far, unless `fit` has fixed it: the running mean of the batches'
    constants. A batch is added after it was measured: the constant of a small batch itself would be too good.

    Args:
        dim: Size of a target.
        constant: Attribute `constant` of a loss; see `distill.losses`.
    """

    def __init__(self, dim: int, constant: Callable[[Tensor], Tensor]) -> None:
        super().__init__(dim)
        self._constant = constant

    @torch.no_grad()
    def forward(self, target: Tensor) -> Tensor | None:
        """Return the constant prediction for each target; both have shape (rows, dim).

        None in the first batch of training without `fit`, when no target is known.
        """
        prediction = self.mean.to(target.dtype).expand_as(target) if self.count > 0 else None
        if self.training and not self.fixed:
            self.add(target)
        return prediction

    def add(self, vectors: Tensor) -> None:
        """Merge the constant of targets (rows, dim) into the running mean."""
        if len(vectors):
            self.count += len(vectors)
            shift = self._constant(vectors).to(self.mean.dtype) - self.mean
            self.mean += shift * len(vectors) / self.count


def explained(loss: Tensor, yardstick: Tensor) -> float:
    """Return the share of a yardstick that a loss explains: 1 - loss / yardstick; 0 if the targets do not vary."""
    return 1 - float(loss) / float(yardstick) if float(yardstick) > _MIN_YARDSTICK else 0.0


@torch.no_grad()
def recall(prediction: Tensor, target: Tensor) -> float:
    """Return the share of predictions whose own target has the highest cosine among all targets of the batch.

    Of more than 512 rows, 512 at equal distances are used. Chance is one divided by the number of rows.

    Args:
        prediction: Shape (rows, dim).
        target: Shape (rows, dim).
    """
    rows = torch.linspace(0, len(target) - 1, min(len(target), _MAX_RANKED), device=target.device).long()
    predicted, own = (F.normalize(vectors[rows].float(), dim=1) for vectors in (prediction, target))
    nearest = (predicted @ own.T).argmax(1)
    return float((nearest == torch.arange(len(rows), device=rows.device)).float().mean())
