"""The yardsticks of a loss: the best constant prediction, and the recall of own targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.losses import Loss
from distill.objectives.parts.observed import Observed, mean_of, observe
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
        self._has_targets = False  # known without reading `count`

    @torch.no_grad()
    def forward(self, target: Tensor) -> Tensor | None:
        """Return the constant prediction for each target; both have shape (rows, dim).

        None in the first batch of training without `fit`, when no target is known.
        """
        self._has_targets = self._has_targets or bool(self.count > 0)
        prediction = self.mean.to(target.dtype).expand_as(target) if self._has_targets else None
        if self.training and not self.is_fixed:
            self.add(target)
        return prediction

    def add(self, vectors: Tensor) -> None:
        """Merge the constant of targets (rows, dim) into the running mean."""
        if len(vectors):
            self._has_targets = True
            self.count += len(vectors)
            shift = self._constant(vectors).to(self.mean.dtype) - self.mean
            self.mean += shift * len(vectors) / self.count

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Read the state of an earlier version too, which has no constant prediction."""
        for name, value in self.named_buffers():
            state.setdefault(f"{prefix}{name}", value)
        super()._load_from_state_dict(state, prefix, *args)
        self._has_targets = False


class Yardstick(nn.Module):
    """The measurement beside which the loss of one teacher has a meaning.

    It is "explained", the share of the loss of the best constant prediction that is explained. The zero vector is a
    constant too: standardised targets have no mean direction, and that of a few clips can be worse. For a loss with
    `retrieves`, it is "recall", the share of rows whose own target is the nearest of the batch. A loss with neither
    attribute has no measurement.

    Args:
        loss: Loss between predictions and targets; see `distill.losses`.
        dim: Size of a target.
    """

    def __init__(self, loss: Loss, dim: int) -> None:
        super().__init__()
        self.retrieves = bool(getattr(loss, "retrieves", False))
        self.constant = BestConstant(dim, loss.constant) if hasattr(loss, "constant") else None

    def fit(self, targets: Tensor) -> None:
        """Fix the constant prediction by targets (rows, dim)."""
        if self.constant is not None:
            self.constant.fit(targets)

    @torch.no_grad()
    def forward(self, loss: Loss, value: Tensor, prediction: Tensor, target: Tensor) -> dict[str, Observed]:
        """Return the measurement of a batch, by name; empty if there is none.

        Args:
            loss: The loss, which also has to measure the constant prediction.
            value: Loss of the prediction, a scalar.
            prediction: Shape (rows, dim).
            target: Shape (rows, dim).
        """
        if self.retrieves:
            return {"recall": recall(prediction, target)}
        constant = None if self.constant is None else self.constant(target)
        if constant is None:
            return {}
        zero = torch.zeros_like(constant)
        return {"explained": explained(value, loss(constant, target), loss(zero, target))}


def explained(loss: Tensor, *yardsticks: Tensor) -> Observed:
    """Return the share of the lowest yardstick that a loss explains: 1 - loss / yardstick; 0 if the targets are equal.

    Args:
        loss: Loss of a prediction, a scalar.
        yardsticks: Losses of constant predictions, scalars.
    """
    return observe(_explained, loss, *yardsticks)


def _explained(loss: Tensor, *yardsticks: Tensor) -> float:
    lowest = min(map(float, yardsticks))
    return 1 - float(loss) / lowest if lowest > _MIN_YARDSTICK else 0.0


@torch.no_grad()
def recall(prediction: Tensor, target: Tensor) -> Observed:
    """Return the share of predictions whose own target has the highest cosine among all targets of the batch.

    Of more than 512 rows, 512 at equal distances are used. Chance is one divided by the number of rows.

    Args:
        prediction: Shape (rows, dim).
        target: Shape (rows, dim).
    """
    rows = torch.linspace(0, len(target) - 1, min(len(target), _MAX_RANKED), device=target.device).long()
    predicted, own = (F.normalize(vectors[rows].float(), dim=1) for vectors in (prediction, target))
    nearest = (predicted @ own.T).argmax(1)
    return observe(float, (nearest == torch.arange(len(rows), device=rows.device)).float().mean())


def observed_of(measured: Mapping[str, Mapping[str, Observed]]) -> dict[str, Observed]:
    """Return the measurements of all teachers as one mapping.

    Args:
        measured: Measurements by name, for each teacher by name.

    Returns:
        With one teacher, its measurements. With several, the mean of each over the teachers that have it, and that of
        each teacher as "MEASUREMENT_TEACHER".
    """
    if len(measured) == 1:
        return dict(next(iter(measured.values())))
    observed: dict[str, Observed] = {}
    for kind in dict.fromkeys(kind for values in measured.values() for kind in values):
        of_teachers = {f"{kind}_{name}": values[kind] for name, values in measured.items() if kind in values}
        observed |= {kind: mean_of(list(of_teachers.values())), **of_teachers}
    return observed
