"""Detection of collapsed representations during training, before it shows in a score."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError

MIN_DEVIATION = 0.01  # a lower standard deviation over a batch means collapse
_WARMUP_STEPS = 100  # a network at its initial weights may have a low deviation
_RANK_INTERVAL = 50  # steps; the rank needs a singular value decomposition


def deviation(vectors: Tensor) -> float:
    """Return the standard deviation over all vectors (..., dim), averaged over the dimensions."""
    rows = vectors.detach().float().flatten(0, -2)
    return float((rows.var(0) + 1e-6).sqrt().mean()) if len(rows) > 1 else 0.0


def effective_rank(vectors: Tensor) -> float:
    """Return the effective rank of (rows, dim): the exponential of the entropy of the singular values (Roy 2007).

    NaN if a number is not finite.
    """
    rows = vectors.detach().float().cpu()  # not every device has singular values
    if not bool(rows.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(rows - rows.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine between all pairs of different rows of (rows, dim); 1 means a constant direction.

    Raises:
        ValueError: there are fewer than two rows.
    """
    rows, number = F.normalize(vectors.detach().float(), dim=1), len(vectors)
    if number < 2:
        raise ValueError(f"{number} rows have no pair")
    squares = rows.square().sum()  # the number of rows, without rows of zeros
    return float((rows.sum(0).square().sum() - squares) / (number * (number - 1)))


class EmbeddingHealth(nn.Module):
    """Measurements of a student's clip embeddings that show whether they are nearly constant."""

    def __init__(self) -> None:
        super().__init__()
        self._steps, self._rank = 0, 0.0  # not in checkpoints: they change no weight

    def forward(self, embeddings: Tensor) -> dict[str, float]:
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
    """Statistics of representations. It stops a run whose targets or predictions have collapsed."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self._rank = 0.0

    def forward(self, targets: Tensor, predictions: Tensor, embeddings: Tensor) -> dict[str, float]:
        """Return the statistics to log, by name.

        Args:
            targets: Shape (..., dim).
            predictions: Shape (..., dim).
            embeddings: Embeddings of clips. Shape (rows, dim).

        Raises:
            UserError: in training, the targets or the predictions have collapsed.
        """
        deviations = {"target": deviation(targets), "prediction": deviation(predictions)}
        if self.training:
            self.steps += 1
            self._check(deviations)
        if not self.training or int(self.steps) % _RANK_INTERVAL == 1:
            self._rank = effective_rank(embeddings)
        return {f"{name}_deviation": value for name, value in deviations.items()} | {"effective_rank": self._rank}

    def _check(self, deviations: dict[str, float]) -> None:
        for name, value in deviations.items():
            if self.steps > _WARMUP_STEPS and value < MIN_DEVIATION:
                raise UserError(
                    f"collapse: the {name}s have a deviation of {value:.2g} over the batch after {int(self.steps)} "
                    "steps; the last checkpoint is unchanged. Try a lower learning rate, a slower moving average, or "
                    "an additional frozen teacher"
                )
