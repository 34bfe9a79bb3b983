"""The batches of a run: slices of an order, with clips of similar length together.

They are a pure function of seed, epoch and position, as the order is. A batch that has clips of very different length
is mostly padding, on which an encoder spends its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from distill.data.errors import UserError
from distill.data.sampling.orders import Order

_BLOCK = 1 << 14  # positions computed together: fast and small in memory
_WINDOW = 50  # batches that are sorted together; more would hardly save padding


class Draws(NamedTuple):
    """The clips of one batch.

    Args:
        rows: Rows of the clips in the manifest.
        draws: Number of each draw since the start of the run. Random changes of a clip are a function of it.
    """

    rows: Sequence[int]
    draws: Sequence[int]


class BatchSampler(Sampler[Draws]):
    """The batches of an order, from any batch on. Each rank gets its slice of every global batch.

    Args:
        order: The order of clips.
        batch_size: Clips in a global batch, over all ranks.
        batches: Number of global batches.
        rank: Rank of this process.
        world: Number of ranks.
        lengths: Length of each clip of the manifest, such as seconds. Shape (clips,). Clips of similar length are
            drawn in one batch: each window of 50 batches is sorted by length, and its batches are shuffled. None
            keeps the order.

    Raises:
        UserError: the batch has fewer clips than there are ranks.
    """

    def __init__(
        self,
        order: Order,
        batch_size: int,
        batches: int,
        rank: int = 0,
        world: int = 1,
        lengths: NDArray[np.floating] | None = None,
    ) -> None:
        if batch_size < world:
            raise UserError(f"--batch_size {batch_size}: must be at least {world}, one clip per device")
        self.order, self.batch_size, self.batches, self.rank, self.world = order, batch_size, batches, rank, world
        self.lengths = None if lengths is None or np.ptp(lengths) == 0 else lengths
        self.start = 0  # batches that a resumed run skips
        self.batches_per_epoch = batches_per_epoch(order, batch_size)

    def __len__(self) -> int:
        return self.batches  # of the whole run, also if resumed, as Lightning expects

    def __iter__(self) -> Iterator[Draws]:
        batch = self.start
        ahead = _WINDOW if self.lengths is not None else max(1, _BLOCK // self.batch_size)
        while batch < self.batches:
            epoch, first = divmod(batch, self.batches_per_epoch)
            begin = first - first % ahead
            end = min(begin + ahead, self.batches_per_epoch)
            for rows, draws in self._window(epoch, begin, end)[first - begin : self.batches - batch + first - begin]:
                yield Draws(rows[self.rank :: self.world].tolist(), draws[self.rank :: self.world].tolist())
            batch += end - first

    def _window(self, epoch: int, begin: int, end: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return rows and draws of the global batches `begin` to `end` - 1 of an epoch."""
        stop = min(end * self.batch_size, self.order.epoch_length)
        rows = self.order.indices(epoch, begin * self.batch_size, stop)
        draws = np.arange(begin * self.batch_size, stop) + epoch * self.order.epoch_length
        places = np.arange(end - begin)
        if self.lengths is not None:
            by_length = np.argsort(self.lengths[rows], kind="stable")
            rows, draws = rows[by_length], draws[by_length]
            generator = np.random.Generator(np.random.Philox(key=[self.order.seed, epoch + (begin << 32)]))
            places = generator.permutation(end - begin)
        batches = [slice(place * self.batch_size, (place + 1) * self.batch_size) for place in places]
        return [(rows[batch], draws[batch]) for batch in batches]


def batches_per_epoch(order: Order, batch_size: int) -> int:
    """Return the number of batches in an epoch of an order; at least 1.

    A short last batch is skipped: batch norm needs more than one clip, and a rank without a clip blocks the others. In
    the next epoch, other clips are skipped.
    """
    return max(1, order.epoch_length // batch_size)


def useful_share(seconds: NDArray[np.floating], batches: Sequence[Draws]) -> float:
    """Return the share of the batches' samples that are sound; the rest is padding.

    Args:
        seconds: Length of each clip of the manifest after its crop. Shape (clips,).
        batches: Batches to measure.
    """
    sound = sum(float(seconds[batch.rows].sum()) for batch in batches)
    total = sum(float(seconds[batch.rows].max()) * len(batch.rows) for batch in batches)
    return sound / total if total else 1.0
