"""The one data module: training batches in an order that resumes exactly, and validation batches."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from distill.data.dataset import ClipDataset, Loaded
from distill.data.sampling import BatchSampler, Draws, Order


class AudioData(L.LightningDataModule):
    """Loads clips for a trainer. All epochs are one pass, so that a position is one number: batches done.

    Args:
        train: Clips to learn from.
        validation: Clips to watch the loss on; may be empty.
        order: In which training clips are drawn.
        batch_size: Clips in a batch, over all devices together.
        epochs: How many epochs of the order.
        workers: Loader processes per device.
    """

    def __init__(
        self,
        train: ClipDataset,
        validation: ClipDataset,
        order: Order,
        batch_size: int,
        epochs: int,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.train_clips, self.validation_clips = train, validation
        self.order, self.batch_size, self.epochs, self.workers = order, batch_size, epochs, workers
        self.batches_done = 0  # over all of the run; the trainer's module counts it

    def sampler(self) -> BatchSampler:
        """Batches of the whole run, beginning after those that are done."""
        world = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        sampler = BatchSampler(self.order, self.batch_size, self.epochs, rank, world)
        sampler.start = self.batches_done
        return sampler

    def train_dataloader(self) -> DataLoader[Loaded]:
        """Batches of the whole run, over all epochs."""
        return self._loader(self.train_clips, self.sampler())

    def val_dataloader(self) -> DataLoader[Loaded]:
        """Validation clips in their order."""
        return self._loader(self.validation_clips, InOrder(len(self.validation_clips), self.batch_size))

    def state_dict(self) -> dict[str, int]:
        """Where the run is."""
        return {"batches_done": self.batches_done, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that are done."""
        self.batches_done = state["batches_done"]

    def _loader(self, clips: ClipDataset, sampler: BatchSampler | InOrder) -> DataLoader[Loaded]:
        return loader(clips, sampler, self.workers)

    def transfer_batch_to_device(self, batch: Loaded, device: torch.device, dataloader_idx: int) -> Loaded:
        """Lightning's hook; `Loaded` moves its batch."""
        return Loaded(None if batch.batch is None else batch.batch.to(device), batch.set_aside)


class InOrder(torch.utils.data.Sampler[Draws]):
    """Batches of clips as they come in the manifest."""

    def __init__(self, clips: int, batch_size: int) -> None:
        self.clips, self.batch_size = clips, batch_size

    def __len__(self) -> int:
        return -(-self.clips // self.batch_size)

    def __iter__(self) -> Iterator[Draws]:
        for first in range(0, self.clips, self.batch_size):
            rows = range(first, min(first + self.batch_size, self.clips))
            yield Draws(rows, rows)


def loader(clips: ClipDataset, sampler: Any, workers: int) -> DataLoader[Loaded]:
    """A loader whose batches are decoded in one piece, and whose own random state is private."""
    return DataLoader(
        clips,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_loaded,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the state of the run
        worker_init_fn=_begin_worker if workers else None,
        persistent_workers=workers > 0,
        timeout=300 if workers else 0,
    )


def _as_loaded(loaded: Any) -> Any:
    return loaded


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # Ctrl-C and a cluster's SIGTERM reach every process; when a run ends, and what it saves first, the run decides.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
