"""Whether representations are alive: collapse shows here before it shows in a score."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.data.errors import UserError

DEAD = 0.01  # a deviation below this over a batch is no representation
_PATIENCE = 100  # steps in which a young network may be still


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


class Watch:
    """Stops a run whose targets or predictions have collapsed."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, **deviations: float) -> None:
        """Note a step. Raises UserError where a named deviation has vanished."""
        self.steps += 1
        for name, value in deviations.items():
            if self.steps > _PATIENCE and value < DEAD:
                raise UserError(
                    f"collapse: the {name} have a deviation of {value:.2g} over the batch after {self.steps} steps, so "
                    "there is nothing left to learn from; the last checkpoint is untouched. Try a lower learning rate, "
                    "a slower moving average, or a frozen teacher beside it"
                )
