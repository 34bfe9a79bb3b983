"""Which clip comes when, as a pure function of (seed, epoch, position).

A sampler keeps no state that could be lost: any position can be asked for, in any order, on any rank or worker, so a
resumed run and a run on several devices see exactly the same clips.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from distill.data.errors import UserError

_BLOCK = 1 << 14  # positions computed at a time: fast, and small in memory


class Order(ABC):
    """An endless order of clips, in epochs of a fixed length.

    Args:
        epoch_length: Draws in an epoch.
        seed: Another seed is another order.
    """

    def __init__(self, epoch_length: int, seed: int) -> None:
        self.epoch_length, self.seed = epoch_length, seed

    @abstractmethod
    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Clips at positions `start` to `stop` of an epoch. Shape (stop - start,)."""


class UniformOrder(Order):
    """Every clip once, in random order, before any comes again.

    Args:
        clips: How many there are.
        seed: Another seed is another order.
        epoch_length: Draws in an epoch; None is all clips. More are drawn in several orders, one after the other.
    """

    def __init__(self, clips: int, seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or clips, seed)
        self.clips = clips
        self._cached: tuple[int, int] | None = None
        self._permutation: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Clips at positions `start` to `stop` of an epoch."""
        passes = range(start // self.clips, -(-stop // self.clips))
        parts = [
            self._order(epoch, number)[max(0, start - number * self.clips) : stop - number * self.clips]
            for number in passes
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _order(self, epoch: int, number: int) -> NDArray[np.int64]:
        """The permutation of a pass through the clips; the last one is kept, which is no state."""
        if self._cached != (epoch, number):
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch + (number << 32)]))
            self._permutation = generator.permutation(self.clips)
            self._cached = epoch, number
        return self._permutation


class ClusterOrder(Order):
    """Draw a cluster uniformly, then one of its clips uniformly, with replacement (S-SONDO, section 2.3).

    A clip's probability is `cluster_weights`, exactly; but nothing of the size of the data set is summed or
    searched, so 100 million clips cost 4 bytes each and a draw costs the same as with a hundred.

    Args:
        labels: Cluster of each clip, not negative. Shape (clips,).
        seed: Another seed is another order.
        epoch_length: Draws in an epoch; None is as many as there are clips.
    """

    def __init__(self, labels: NDArray[np.integer], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or len(labels), seed)
        sizes = np.bincount(labels)
        ends = np.cumsum(sizes)
        self._sizes = sizes[sizes > 0]
        self._starts = (ends - sizes)[sizes > 0]
        kind = np.int32 if len(labels) < 2**31 else np.int64
        # Stable, so that the order does not depend on the platform's sort; short integers are sorted by radix.
        short = labels.astype(np.uint16) if len(sizes) <= 1 << 16 else labels
        self._by_cluster = np.argsort(short, kind="stable").astype(kind)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Clips drawn at positions `start` to `stop` of an epoch."""
        draw = _uniform(self.seed, epoch, start, stop)
        draw *= len(self._sizes)
        cluster = draw.astype(np.int64)
        draw -= cluster  # what is left is uniform again, with 53 - log2(clusters) bits
        draw *= self._sizes[cluster]
        place = draw.astype(np.int64)
        place += self._starts[cluster]
        return self._by_cluster[place].astype(np.int64)


class WeightedOrder(Order):
    """Draw clips with replacement, each with its weight; 8 bytes a clip.

    Args:
        weights: Not negative, and not all 0. Shape (clips,).
        seed: Another seed is another order.
        epoch_length: Draws in an epoch; None is as many as there are clips.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(epoch_length or len(weights), seed)
        self._ends = np.cumsum(weights)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Clips drawn at positions `start` to `stop` of an epoch."""
        draw = _uniform(self.seed, epoch, start, stop) * self._ends[-1]
        return np.searchsorted(self._ends, draw, side="right").astype(np.int64)


class StratifiedOrder(WeightedOrder):
    """Draw each clip as often in an epoch as its weight says, rounded up or down: a limit holds, and not on average.

    Systematic sampling (Madow 1949): draws are evenly spaced points on the line of all weights, in random order. Takes
    8 bytes more for each draw of an epoch.
    """

    def __init__(self, weights: NDArray[np.float64], seed: int = 0, epoch_length: int | None = None) -> None:
        super().__init__(weights, seed, epoch_length)
        self._last = int(np.flatnonzero(weights)[-1])  # where rounding would lead beyond it
        self._points = UniformOrder(self.epoch_length, seed)

    def indices(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Clips drawn at positions `start` to `stop` of an epoch."""
        offset = _uniform(self.seed, epoch, 0, 1)
        points = (self._points.indices(epoch, start, stop) + offset) * (self._ends[-1] / self.epoch_length)
        return np.searchsorted(self._ends, points, side="right").clip(max=self._last).astype(np.int64)


def cluster_weights(labels: NDArray[np.integer], shares: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """S-SONDO's probability of each clip: 1 / (non-empty clusters * clips in its cluster). Sums to 1.

    Args:
        labels: Cluster of each clip. Shape (clips,).
        shares: For how many clips each counts inside its cluster; None is one. Shape (clips,).
    """
    shares = np.ones(len(labels)) if shares is None else shares
    sizes = np.bincount(labels, shares)
    return shares / (np.count_nonzero(sizes) * sizes[labels])


class Draws(NamedTuple):
    """One batch of clips.

    Args:
        rows: Which clips.
        draws: Which draw of the whole run each is; whatever is random about a clip is a function of it.
    """

    rows: Sequence[int]
    draws: Sequence[int]


class BatchSampler(Sampler[Draws]):
    """Batches of an order from any batch on; each rank takes its slice of every global batch.

    Args:
        order: What is drawn.
        batch_size: Clips in a batch over all ranks together.
        epochs: How many epochs there are.
        rank: Which slice is ours.
        world: How many slices there are.
    """

    def __init__(self, order: Order, batch_size: int, epochs: int, rank: int = 0, world: int = 1) -> None:
        if batch_size < world:
            raise UserError(f"--batch_size {batch_size}: at least one clip for each of {world} devices is wanted")
        self.order, self.batch_size, self.rank, self.world = order, batch_size, rank, world
        self.start = 0  # batches to leave out, for a resumed run
        full = order.epoch_length // batch_size
        # A short last batch is left out: one clip is no statistic for a batch norm, and a rank without a clip stops
        # the others for ever. Other clips are left out in the next epoch.
        self.batches_per_epoch = max(1, full)
        self.batches = self.batches_per_epoch * epochs

    def __len__(self) -> int:
        return self.batches  # of the whole run, also when resumed: Lightning counts against it

    def __iter__(self) -> Iterator[Draws]:
        batch = self.start
        while batch < self.batches:
            epoch, first = divmod(batch, self.batches_per_epoch)
            ahead = max(1, _BLOCK // self.batch_size)
            last = min(first + ahead, self.batches_per_epoch)
            stop = min(last * self.batch_size, self.order.epoch_length)
            block = self.order.indices(epoch, first * self.batch_size, stop)
            draw = epoch * self.order.epoch_length + first * self.batch_size
            drawn = block.tolist()
            for place in range(0, len(drawn), self.batch_size):
                rows = drawn[place : place + self.batch_size]
                draws = range(draw + place, draw + place + len(rows))
                yield Draws(rows[self.rank :: self.world], draws[self.rank :: self.world])
            batch += last - first


def _uniform(seed: int, epoch: int, start: int, stop: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one for each position; a hash, so any position costs the same.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), whose n-th output is a
    function of n, keyed by another of its outputs.
    """
    key = _splitmix(_splitmix(np.array([seed], dtype=np.uint64)) ^ np.uint64(epoch))
    bits = _splitmix(np.arange(start, stop, dtype=np.uint64) + key)
    bits >>= np.uint64(11)
    return np.multiply(bits, 2.0**-53, dtype=np.float64)


def _splitmix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash every element; the argument's memory is used for the result."""
    z *= np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z
