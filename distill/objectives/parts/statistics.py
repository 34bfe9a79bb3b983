"""Normalisation of a teacher's embeddings, so that teachers of different scale have comparable losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from distill.losses.host_value import HostValue
from distill.teachers.teacher import Teacher

_ROWS_AT_ONCE = 4096  # their double-precision copy fits into the cache of a processor
_MIN_VARIANCE = 1e-12
_STATISTICS_CLIPS = 50_000  # clips from which the statistics of a store are computed
_STATISTICS_FRAMES_PER_CLIP = 20  # frames of one clip are similar, so fewer clips keep the cost the same


def sample_stored(teacher: Teacher, frames: bool) -> Tensor | None:
    """Return stored embeddings (rows, dim) of at most 50,000 clips. None means that embeddings are computed.

    Args:
        teacher: Live or stored encoder.
        frames: Whether frame embeddings are returned, of at most 2,500 clips, instead of clip embeddings.
    """
    stored = teacher.sample(_STATISTICS_CLIPS // (_STATISTICS_FRAMES_PER_CLIP if frames else 1), frames)
    return None if stored is None else torch.from_numpy(stored)


class LinearNormalisation(nn.Module, ABC):
    """A linear map of embeddings, from which their mean is subtracted.

    Args:
        dim: Size of an embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.eye(dim))
        self.mean: Tensor
        self.directions: Tensor

    def fit(self, vectors: Tensor) -> None:
        """Compute the map from vectors (rows, dim)."""
        mean = vectors.double().mean(0)
        centred = vectors.double() - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(vectors))
        self.mean.copy_(mean)
        self.directions.copy_(directions @ self.map_principal(variances.clamp(min=0)))

    @abstractmethod
    def map_principal(self, variances: Tensor) -> Tensor:
        """Return the map (dim, dim) of vectors along the principal directions, given their variances (dim,)."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return mapped vectors. Both have shape (rows, dim)."""
        return (vectors - self.mean) @ self.directions

    def inverse(self) -> tuple[Tensor, Tensor]:
        """Return the matrix (dim, dim) and the mean (dim,) that map a normalised vector back: v @ matrix + mean."""
        return torch.linalg.pinv(self.directions.double()).float(), self.mean.float()


class Whiten(LinearNormalisation):
    """Whitening: a linear map to mean 0 and covariance 1 along the principal directions.

    Args:
        dim: Size of an embedding.
        min_share: Share of the mean variance that is added to each variance, so that noise is not amplified.
    """

    def __init__(self, dim: int, min_share: float = 1e-3) -> None:
        super().__init__(dim)
        self.min_share = min_share

    def map_principal(self, variances: Tensor) -> Tensor:
        """Return a diagonal matrix of the inverse deviations."""
        return (variances + self.min_share * variances.mean()).clamp(min=_MIN_VARIANCE).rsqrt().diag()


class PhiStandardise(LinearNormalisation):
    """PHI-S: a rotation that gives every column the same variance, and one scale (arXiv 2410.01680).

    Every column has mean 0 and variance 1, as with `Standardise`, and all distances are multiplied by one number. The
    paper rotates the principal directions by a Hadamard matrix. Here, this is done if the size is a power of 2.
    Otherwise, a Hartley matrix spreads each direction over all columns, and plane rotations make the variances equal.
    """

    def map_principal(self, variances: Tensor) -> Tensor:
        """Return a rotation divided by the root of the mean variance."""
        dim = len(variances)
        rotation = hadamard(dim) if dim & (dim - 1) == 0 else equalised(hartley(dim), variances)
        return rotation / variances.mean().clamp(min=_MIN_VARIANCE).sqrt()


def hadamard(dim: int) -> Tensor:
    """Return Sylvester's Hadamard matrix divided by the root of `dim`, a power of 2. Shape (dim, dim), float64."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < dim:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / dim**0.5


def hartley(dim: int) -> Tensor:
    """Return the orthogonal matrix of the discrete Hartley transform. Shape (dim, dim), float64."""
    index = torch.arange(dim, dtype=torch.float64)
    angle = 2 * torch.pi * (index.unsqueeze(1) * index % dim) / dim
    return (angle.cos() + angle.sin()) / dim**0.5


def equalised(rotation: Tensor, variances: Tensor) -> Tensor:
    """Return a rotation after which all columns have the same variance.

    Each of at most dim - 1 plane rotations gives one column the mean variance (the proof of Horn's theorem, 1954).

    Args:
        rotation: Rotation to start from. Shape (dim, dim).
        variances: Variances before the rotation. Shape (dim,).
    """
    rotation = rotation.clone()
    covariance = rotation.T @ (variances.unsqueeze(1) * rotation)
    mean = variances.mean()
    for _ in range(len(variances) - 1):
        excess = covariance.diagonal() - mean
        high, low = int(excess.argmax()), int(excess.argmin())
        if float(excess[high]) <= 1e-12 * float(mean):
            break
        # The root of smaller size of: low * t^2 + 2 * mixed * t + high = 0, with t the tangent of the angle.
        mixed = covariance[high, low]
        root = (mixed.square() - excess[high] * excess[low]).sqrt()
        tangent = -excess[high] / (mixed + torch.copysign(root, mixed))
        cosine = (1 + tangent.square()).rsqrt()
        plane = torch.stack([torch.stack([cosine, -tangent * cosine]), torch.stack([tangent * cosine, cosine])])
        rotation[:, [high, low]] = rotation[:, [high, low]] @ plane
        covariance[:, [high, low]] = covariance[:, [high, low]] @ plane
        covariance[[high, low]] = plane.T @ covariance[[high, low]]
    return rotation


class RunningStatistics(nn.Module, ABC):
    """Statistics of all vectors so far, until `fit` fixes them.

    They have double precision; single precision on Apple's GPUs, which have no double precision.

    Args:
        dim: Size of an embedding.
    """

    shared_statistics: tuple[str, ...] = ("count", "mean")

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("fixed", torch.tensor(False))
        self.count: Tensor
        self.mean: Tensor
        self.fixed: Tensor
        self._known_fixed = HostValue()

    @property
    def is_fixed(self) -> bool:
        """Whether `fit` has fixed the statistics."""
        return bool(self._known_fixed.get(self.fixed))

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

    @abstractmethod
    def add(self, vectors: Tensor) -> None:
        """Merge the statistics of vectors (rows, dim) into the running ones."""


class Standardise(RunningStatistics):
    """Standardisation of each column to mean 0 and variance 1.

    In training, the statistics cover all vectors so far, unless `fit` has fixed them.

    Args:
        dim: Size of an embedding.
    """

    shared_statistics = ("count", "mean", "squares")

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.register_buffer("squares", torch.zeros_like(self.mean))  # sums of squared distances from the mean
        self.squares: Tensor

    def forward(self, vectors: Tensor) -> Tensor:
        """Return standardised vectors. Both have shape (rows, dim)."""
        if self.training and not self.is_fixed:
            self.add(vectors.detach())
        scale = self._variance().rsqrt()
        return (vectors - self.mean.to(vectors.dtype)) * scale.to(vectors.dtype)

    def inverse(self) -> tuple[Tensor, Tensor]:
        """Return the matrix (dim, dim) and the mean (dim,) that map a normalised vector back: v @ matrix + mean."""
        return self._variance().sqrt().float().diag(), self.mean.float()

    def _variance(self) -> Tensor:
        """Return the variance of each column (dim,)."""
        variance = self.squares / self.count.clamp(min=1)
        # A constant column carries no information; its rounding errors must not be amplified.
        return torch.maximum(variance, 1e-6 * variance.mean() + 1e-12)

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
