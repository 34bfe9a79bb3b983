"""Detection of collapsed representations during training, before it shows in a score."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError
from distill.losses.host_value import HostValue
from distill.objectives.parts.observed import Observed, observe

MIN_DEVIATION = 0.01  # a lower standard deviation over a batch means collapse
_WARMUP_STEPS = 100  # a network at its initial weights may have a low deviation
_DEVIATIONS = {"target_deviation": "targets", "prediction_deviation": "predictions"}
_RANK_INTERVAL = 50  # steps; the rank needs a singular value decomposition


def deviation(vectors: Tensor) -> Observed:
    """Return the standard deviation over all vectors (..., dim), averaged over the dimensions."""
    rows = vectors.detach().float().flatten(0, -2)
    return observe(float, (rows.var(0) + 1e-6).sqrt().mean()) if len(rows) > 1 else 0.0


def effective_rank(vectors: Tensor) -> Observed:
    """Return the effective rank of (rows, dim): the exponential of the entropy of the singular values (Roy 2007).

    NaN if a number is not finite.
    """
    return observe(_effective_rank, vectors.detach().float())  # on the CPU: not every device has singular values


def _effective_rank(rows: Tensor) -> float:
    if not bool(rows.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(rows - rows.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


def mean_cosine(vectors: Tensor) -> Observed:
    """Return the mean cosine between all pairs of different rows of (rows, dim); 1 means a constant direction.

    Raises:
        ValueError: there are fewer than two rows.
    """
    rows, number = F.normalize(vectors.detach().float(), dim=1), len(vectors)
    if number < 2:
        raise ValueError(f"{number} rows have no pair")
    squares = rows.square().sum()  # the number of rows, without rows of zeros
    return observe(float, (rows.sum(0).square().sum() - squares) / (number * (number - 1)))


class EmbeddingHealth(nn.Module):
    """Measurements of a student's clip embeddings that show whether they are nearly constant."""

    def __init__(self) -> None:
        super().__init__()
        self._steps = 0  # not in checkpoints: it changes no weight
        self._rank: Observed = 0.0

    def forward(self, embeddings: Tensor) -> dict[str, Observed]:
        """Return "mean_cosine" and "effective_rank" of embeddings (rows, dim); nothing for a single row.

        In training, the rank is computed every 50 steps and repeated in between.
        """
        if len(embeddings) < 2:
            return {}
        if not self.training or self._steps % _RANK_INTERVAL == 0:
            self._rank = effective_rank(embeddings)
        self._steps += self.training
        return {"mean_cosine": mean_cosine(embeddings), "effective_rank": self._rank}


class Health(nn.Module):
    """Statistics of representations, and the check that targets and predictions have not collapsed."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self._known_steps = HostValue()
        self._rank: Observed = 0.0

    def forward(self, targets: Tensor, predictions: Tensor, embeddings: Tensor) -> dict[str, Observed]:
        """Return the statistics to log, by name.

        Args:
            targets: Shape (..., dim).
            predictions: Shape (..., dim).
            embeddings: Embeddings of clips. Shape (rows, dim).
        """
        if self.training:
            self._known_steps.set(self.steps, self._known_steps.get(self.steps) + 1)
        if not self.training or self._known_steps.get(self.steps) % _RANK_INTERVAL == 1:
            self._rank = effective_rank(embeddings)
        return {
            "target_deviation": deviation(targets),
            "prediction_deviation": deviation(predictions),
            "effective_rank": self._rank,
        }

    @staticmethod
    def check(name: str, step: int, value: float) -> None:
        """Raise UserError if the targets or the predictions have collapsed, with the arguments of `check_observed`."""
        if step > _WARMUP_STEPS and name in _DEVIATIONS and value < MIN_DEVIATION:
            raise UserError(
                f"collapse: the {_DEVIATIONS[name]} have a deviation of {value:.2g} over the batch after {step} steps; "
                "the last checkpoint is unchanged. Try a lower learning rate, a slower moving average, or an "
                "additional frozen teacher"
            )
