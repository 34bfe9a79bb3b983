"""Data loaders of clips, and the sampler that keeps the order of a manifest."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from distill.data.clips.dataset import ClipDataset, Loaded
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws


class InOrder(torch.utils.data.Sampler[Draws]):
    """Batches in the order of the manifest.

    Args:
        clips: Number of clips.
        batch_size: Clips in a batch. The last batch may be smaller.
        rank: Rank of this process, which gets every `world`-th batch.
        world: Number of processes. All get the same number of batches; the last ones may be empty.
    """

    def __init__(self, clips: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.clips, self.batch_size, self.rank, self.world = clips, batch_size, rank, world

    def __len__(self) -> int:
        return -(-self.clips // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[Draws]:
        for number in range(len(self)):
            first = min((number * self.world + self.rank) * self.batch_size, self.clips)
            rows = range(first, min(first + self.batch_size, self.clips))
            yield Draws(rows, rows)


def loader(clips: ClipDataset, sampler: Any, workers: int, pinned: bool = False) -> DataLoader[Loaded]:
    """Return a loader that gets whole batches from the data set and does not use the global random state.

    Its iteration raises `NoSharedMemory` if a batch of a loader process does not fit into /dev/shm.

    Args:
        clips: The clips.
        sampler: Yields the `Draws` of each batch.
        workers: Loader processes. 0 loads in the main process.
        pinned: Whether batches are in page-locked memory, from which a copy to a CUDA device does not wait.
    """
    return DataLoader(
        clips,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_share if workers else _as_loaded,
        generator=torch.Generator().manual_seed(0),  # by default, the loader draws from the global state
        worker_init_fn=_begin_worker if workers else None,
        persistent_workers=workers > 0,
        timeout=300 if workers else 0,
        pin_memory=pinned,
    )


class NoSharedMemory(UserError):
    """A loader process has no shared memory for a batch.

    Args:
        trace: The traceback in the loader process, with which torch raises the error again. It is not shown.
    """

    def __init__(self, trace: str = "") -> None:
        super().__init__(
            "the loader processes have no shared memory for a batch: /dev/shm is full, or too many files are open; "
            "use --engine.workers 0, or enlarge it (docker run --shm-size 2g; ulimit -n 4096)"
        )


def _as_loaded(loaded: Any) -> Any:
    return loaded


def _share(loaded: Any) -> Any:
    """Move the tensors of a batch to shared memory. Raises NoSharedMemory.

    torch would do so in a thread whose errors do not reach the main process, which then waits for its timeout.
    """
    batch = loaded.batch
    try:
        for tensor in (batch.waveform, batch.lengths, batch.labels) if batch is not None else ():
            if tensor.numel():
                tensor.share_memory_()
    except RuntimeError as error:
        if "shared memory" not in str(error):
            raise
        raise NoSharedMemory from error
    return loaded


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and a cluster's SIGTERM reach every process. Only the main process may end the run, after it has saved.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    # An error can leave loader processes behind. At its end, Python sends them SIGTERM, which they ignore, and waits.
    if left := [process for process in multiprocessing.active_children() if process.daemon]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would report them as lost
        for process in left:
            process.kill()
