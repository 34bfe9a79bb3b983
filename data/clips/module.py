"""The one data module: training batches in an order that resumes exactly, and validation batches."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from distill.data.clips.dataset import ClipDataset, Loaded
from distill.data.clips.lightning import L
from distill.data.clips.loading import InOrder, loader
from distill.data.sampling.orders import BatchSampler, Order


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
