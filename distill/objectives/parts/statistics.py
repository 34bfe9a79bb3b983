"""Normalisation of a teacher's embeddings, so that teachers of different scale have comparable losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

_ROWS_AT_ONCE = 4096  # their double-precision copy fits into the cache of a processor


class Whiten(nn.Module):
    """Whitening: a linear map to mean 0 and covariance 1 along the principal directions.

    Args:
        dim: Size of an embedding.
        min_share: Share of the mean variance that is added to each variance, so that noise is not amplified.
    """

    def __init__(self, dim: int, min_share: float = 1e-3) -> None:
        super().__init__()
        self.min_share = min_share
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.eye(dim))
        self.mean: Tensor
        self.directions: Tensor

    def fit(self, vectors: Tensor) -> None:
        """Compute the statistics of vectors (rows, dim)."""
        centred = vectors.double() - vectors.double().mean(0)
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(vectors))
        scale = (variances.clamp(min=0) + self.min_share * variances.mean()).clamp(min=1e-12).rsqrt()
        self.mean.copy_(vectors.double().mean(0))
        self.directions.copy_(directions * scale)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return whitened vectors. Both have shape (rows, dim)."""
        return (vectors - self.mean) @ self.directions


class RunningStatistics(nn.Module):
    """Statistics of all vectors so far, until `fit` fixes them.

    They have double precision; single precision on Apple's GPUs, which have no double precision.

    Args:
        dim: Size of an embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("fixed", torch.tensor(False))
        self.count: Tensor
        self.mean: Tensor
        self.fixed: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        try:
            return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        except TypeError:  # the device has no double precision
            return super()._apply(lambda tensor: fn(_single(tensor)), recurse)  # type: ignore[no-untyped-call]

    def fit(self, vectors: Tensor) -> None:
        """Compute the statistics of vectors (rows, dim) and fix them."""
        for statistic in self.buffers():
            statistic.zero_()
        for part in vectors.split(_ROWS_AT_ONCE):
            self.add(part)
        self.fixed.fill_(True)

    def add(self, vectors: Tensor) -> None:
        """Merge the statistics of vectors (rows, dim) into the running ones."""
        raise NotImplementedError


class Standardise(RunningStatistics):
    """Standardisation of each column to mean 0 and variance 1.

    In training, the statistics cover all vectors so far, unless `fit` has fixed them.

    Args:
        dim: Size of an embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.register_buffer("squares", torch.zeros_like(self.mean))  # sums of squared distances from the mean
        self.squares: Tensor

    def forward(self, vectors: Tensor) -> Tensor:
        """Return standardised vectors. Both have shape (rows, dim)."""
        if self.training and not self.fixed:
            self.add(vectors.detach())
        variance = self.squares / self.count.clamp(min=1)
        # A constant column carries no information; its rounding errors must not be amplified.
        scale = torch.maximum(variance, 1e-6 * variance.mean() + 1e-12).rsqrt()
        return (vectors - self.mean.to(vectors.dtype)) * scale.to(vectors.dtype)

    def add(self, vectors: Tensor) -> None:
        """Merge the statistics of vectors (rows, dim) into the running ones (Chan, Golub and LeVeque 1979)."""
        if len(vectors) == 0:
            return
        vectors = vectors.to(self.mean.dtype)
        mean, total = vectors.mean(0), self.count + len(vectors)
        shift = mean - self.mean
        self.squares += (vectors - mean).square().sum(0) + shift.square() * self.count * len(vectors) / total
        self.mean += shift * len(vectors) / total
        self.count.copy_(total)


def _single(tensor: Tensor) -> Tensor:
    """Return a tensor in single instead of double precision. Others are unchanged."""
    return tensor.float() if tensor.dtype == torch.float64 else tensor
