"""Statistics of a teacher's embeddings, so that teachers of unlike scale can be imitated side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ROWS = 4096  # whose double-precision copy still fits a processor's cache


class Whiten(nn.Module):
    """Takes embeddings to mean 0 and covariance 1, along the directions in which they vary.

    Args:
        dim: Columns.
        least: Share of the mean variance below which a direction counts as noise and is not blown up.
    """

    def __init__(self, dim: int, least: float = 1e-3) -> None:
        super().__init__()
        self.least = least
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.eye(dim))
        self.mean: Tensor
        self.directions: Tensor

    def fit(self, vectors: Tensor) -> None:
        """Take the statistics of (rows, dim)."""
        centred = vectors.double() - vectors.double().mean(0)
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(vectors))
        scale = (variances.clamp(min=0) + self.least * variances.mean()).clamp(min=1e-12).rsqrt()
        self.mean.copy_(vectors.double().mean(0))
        self.directions.copy_(directions * scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """Whiten (rows, dim)."""
        return (vectors - self.mean) @ self.directions


class Standardise(nn.Module):
    """Takes each column to mean 0 and variance 1.

    In training the statistics are those of all vectors seen so far, unless `fit` has fixed them.

    Args:
        dim: Columns.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(dim, dtype=torch.float64))  # of the distances from the mean
        self.register_buffer("fixed", torch.tensor(False))
        self.count: Tensor
        self.mean: Tensor
        self.squares: Tensor
        self.fixed: Tensor

    def fit(self, vectors: Tensor) -> None:
        """Take the statistics of (rows, dim), and keep them."""
        for statistic in (self.count, self.mean, self.squares):
            statistic.zero_()
        for part in vectors.split(_ROWS):
            self._add(part)
        self.fixed.fill_(True)

    def forward(self, vectors: Tensor) -> Tensor:
        """Standardise (rows, dim)."""
        if self.training and not self.fixed:
            self._add(vectors.detach())
        variance = self.squares / self.count.clamp(min=1)
        # A column that never changes says nothing, and must not become noise.
        scale = torch.maximum(variance, 1e-6 * variance.mean() + 1e-12).rsqrt()
        return (vectors - self.mean.to(vectors.dtype)) * scale.to(vectors.dtype)

    def _add(self, vectors: Tensor) -> None:
        """Merge the statistics of more vectors (Chan, Golub and LeVeque 1979)."""
        if len(vectors) == 0:
            return
        vectors = vectors.double()
        mean, total = vectors.mean(0), self.count + len(vectors)
        shift = mean - self.mean
        self.squares += (vectors - mean).square().sum(0) + shift.square() * self.count * len(vectors) / total
        self.mean += shift * len(vectors) / total
        self.count.copy_(total)
