"""Detection of collapsed representations during training, before it shows in a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.data.errors import UserError

MIN_DEVIATION = 0.01  # a lower standard deviation over a batch means collapse
_WARMUP_STEPS = 100  # a network at its initial weights may have a low deviation
_RANK_INTERVAL = 50  # steps; the rank needs a singular value decomposition


def deviation(vectors: Tensor) -> float:
    """Return the standard deviation over all vectors (..., dim), averaged over the dimensions."""
    rows = vectors.detach().float().flatten(0, -2)
    return float((rows.var(0) + 1e-6).sqrt().mean()) if len(rows) > 1 else 0.0


def effective_rank(vectors: Tensor) -> float:
    """Return the effective rank of (rows, dim): the exponential of the entropy of the singular values (Roy 2007)."""
    rows = vectors.detach().float()
    values = torch.linalg.svdvals(rows - rows.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


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
