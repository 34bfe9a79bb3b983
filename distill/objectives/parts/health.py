"""Whether representations are alive: collapse shows here before it shows in a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.data.errors import UserError

DEAD = 0.01  # a deviation below this over a batch is no representation
_PATIENCE = 100  # steps in which a young network may be still
_RANK_EVERY = 50  # steps: it costs a decomposition


def deviation(vectors: Tensor) -> float:
    """Mean over the numbers of an embedding of their standard deviation over all vectors (..., dim)."""
    rows = vectors.detach().float().flatten(0, -2)
    return float((rows.var(0) + 1e-6).sqrt().mean()) if len(rows) > 1 else 0.0


def effective_rank(vectors: Tensor) -> float:
    """How many directions vectors (rows, dim) use: the exponent of the entropy of their singular values (Roy 2007)."""
    rows = vectors.detach().float()
    values = torch.linalg.svdvals(rows - rows.mean(0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


class Health(nn.Module):
    """Observes whether representations are alive, and stops a run whose targets or predictions have collapsed."""

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self._rank = 0.0

    def forward(self, targets: Tensor, predictions: Tensor, embeddings: Tensor) -> dict[str, float]:
        """What is logged, from targets and predictions (..., dim) and embeddings of clips (rows, dim).

        Raises:
            UserError: the deviation of one has vanished in training.
        """
        deviations = {"target": deviation(targets), "prediction": deviation(predictions)}
        if self.training:
            self.steps += 1
            self._check(deviations)
        if not self.training or int(self.steps) % _RANK_EVERY == 1:
            self._rank = effective_rank(embeddings)
        return {f"{name}_deviation": value for name, value in deviations.items()} | {"effective_rank": self._rank}

    def _check(self, deviations: dict[str, float]) -> None:
        for name, value in deviations.items():
            if self.steps > _PATIENCE and value < DEAD:
                raise UserError(
                    f"collapse: the {name}s have a deviation of {value:.2g} over the batch after {int(self.steps)} "
                    "steps, so there is nothing left to learn from; the last checkpoint is untouched. Try a lower "
                    "learning rate, a slower moving average, or a frozen teacher beside it"
                )
