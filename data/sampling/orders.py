"""The order of training clips, as a pure function of seed, epoch and position.

A sampler has no state that could be lost. Any position can be computed at any time, on any rank or worker. So a resumed
run and a run on several devices get exactly the same clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class Order(ABC):
    """An endless order of clips, in epochs of a fixed length.

    Args:
        epoch_length: Draws in an epoch.
        seed: Seed of the order.
    """

    def __init__(self, epoch_length: int, seed: int) -> None:
        self.epoch_length, self.seed = epoch_length, seed

    @abstractmethod
    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the clips at positions `start` to `stop` - 1 of an epoch. Shape (stop - start,)."""


class UniformOrder(Order):
    """A random order without replacement: every clip is drawn once before a clip is drawn again.

    Args:
        clips: Number of clips.
        seed: Seed of the order.
        epoch_length: Draws in an epoch. None means all clips. More draws are several random orders in sequence.
    """

    def __init__(self, clips: int, seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or clips, seed)
        self.clips = clips
        self._cached: tuple[int, int] | None = None
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the clips at positions `start` to `stop` - 1 of an epoch. Shape (stop - start,)."""
        passes = range(start // self.clips, -(-stop // self.clips))
        parts = [
            self._order(epoch, number)[max(0, start - number * self.clips) : stop - number * self.clips]
            for number in passes
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _order(self, epoch: int, number: int) -> NDArray[np.int64]:
        """Return the permutation of a pass through the clips. The last permutation is cached."""
        if self._cached != (epoch, number):
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch + (number << 32)]))
            self._permutation = generator.permutation(self.clips)
            self._cached = epoch, number
        return self._permutation


class ClusterOrder(Order):
    """A random order with replacement: a random cluster, then a random clip of it (S-SONDO, section 2.3).

    The probability of a clip is exactly `cluster_weights`. A draw needs no sum or search over the clips, so its time
    does not depend on their number. Memory is 4 bytes per clip.

    Args:
        labels: Cluster of each clip, from 0. Shape (clips,).
        seed: Seed of the order.
        epoch_length: Draws in an epoch. None means the number of clips.
    """

    def __init__(self, labels: NDArray[np.integer], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or len(labels), seed)
        sizes = np.bincount(labels)
        ends = np.cumsum(sizes)
        self._sizes = sizes[sizes > 0]
        self._starts = (ends - sizes)[sizes > 0]
        dtype = np.int32 if len(labels) < 2**31 else np.int64
        # A stable sort gives the same order on every platform. NumPy sorts short integers by radix.
        short = labels.astype(np.uint16) if len(sizes) <= 1 << 16 else labels
        self._by_cluster = np.argsort(short, kind="stable").astype(dtype)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the clips at positions `start` to `stop` - 1 of an epoch. Shape (stop - start,)."""
        draw = uniform_numbers(self.seed, epoch, start, stop)
        draw *= len(self._sizes)
        cluster = draw.astype(np.int64)
        draw -= cluster  # the fraction is uniform again, with 53 - log2(clusters) bits
        draw *= self._sizes[cluster]
        position = draw.astype(np.int64)
        position += self._starts[cluster]
        return self._by_cluster[position].astype(np.int64)


class WeightedOrder(Order):
    """A random order with replacement, where each clip has a weight. Memory is 8 bytes per clip.

    Args:
        weights: Must not be negative, or all 0. Shape (clips,).
        seed: Seed of the order.
        epoch_length: Draws in an epoch. None means the number of clips.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or len(weights), seed)
        self._ends = np.cumsum(weights)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the clips at positions `start` to `stop` - 1 of an epoch. Shape (stop - start,)."""
        draw = uniform_numbers(self.seed, epoch, start, stop) * self._ends[-1]
        return np.searchsorted(self._ends, draw, side="right").astype(np.int64)


class StratifiedOrder(WeightedOrder):
    """A random order where each clip occurs in every epoch in proportion to its weight, rounded up or down.

    So a limit on repeats holds in every epoch. Systematic sampling (Madow 1949): draws are evenly spaced points on the
    line of all weights, in random order. Memory is 8 bytes more per draw of an epoch. The arguments are those of
    `WeightedOrder`.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(weights, seed, epoch_length)
        self._last = int(np.flatnonzero(weights)[-1])  # rounding may exceed it
        self._points = UniformOrder(self.epoch_length, seed)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the clips at positions `start` to `stop` - 1 of an epoch. Shape (stop - start,)."""
        offset = uniform_numbers(self.seed, epoch, 0, 1)
        points = (self._points.indices(epoch, start, stop) + offset) * (self._ends[-1] / self.epoch_length)
        return np.searchsorted(self._ends, points, side="right").clip(max=self._last).astype(np.int64)


def cluster_weights(labels: NDArray[np.integer], shares: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return S-SONDO's probability of each clip: 1 / (non-empty clusters * clips in its cluster).

    Args:
        labels: Cluster of each clip. Shape (clips,).
        shares: Number of clips that each clip counts as, inside its cluster. Shape (clips,). None means 1.

    Returns:
        Probabilities. Shape (clips,).
    """
    shares = np.ones(len(labels)) if shares is None else shares
    sizes = np.bincount(labels, shares)
    return shares / (np.count_nonzero(sizes) * sizes[labels])


def uniform_numbers(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.float64]:
    """Return a random number in [0, 1) with 53 bits for each position. Shape (stop - start,), float64.

    The numbers are a hash of the position, so any position costs the same: SplitMix64 (Steele, Lea and Flood 2014,
    "Fast splittable pseudorandom number generators"). Its n-th output is a function of n, and another output is the
    key.
    """
    key = _splitmix(_splitmix(np.array([seed], dtype=np.uint64)) ^ np.uint64(epoch))
    bits = _splitmix(np.arange(start, stop, dtype=np.uint64) + key)
    bits >>= np.uint64(11)
    return np.multiply(bits, 2.0**-53, dtype=np.float64)


def _splitmix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash every element in place."""
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
