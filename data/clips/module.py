"""The Lightning data module: training batches, in an order that can be resumed exactly, and validation batches."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader

from distill.data.clips.dataset import ClipDataset, Loaded
from distill.data.clips.lightning import L
from distill.data.clips.loading import InOrder, loader
from distill.data.sampling.batches import BatchSampler, batches_per_epoch
from distill.data.sampling.orders import Order


class AudioData(L.LightningDataModule):
    """Batches for a trainer. The whole run is one pass of the loader, so the number of batches done is the position.

    Args:
        train: Training clips.
        validation: Clips of the validation loss. May be empty.
        order: Order in which training clips are drawn.
        batch_size: Clips in a batch, summed over all devices.
        batches: Number of training batches.
        workers: Loader processes per device. 0 loads in the main process.
        by_length: Whether a batch has clips of similar length.
        validation_interval: Batches from one validation to the next. 0: one epoch of the order.
    """

    def __init__(
        self,
        train: ClipDataset,
        validation: ClipDataset,
        order: Order,
        batch_size: int,
        batches: int,
        workers: int = 0,
        by_length: bool = False,
        validation_interval: int = 0,
    ) -> None:
        super().__init__()
        self.train_clips, self.validation_clips = train, validation
        self.order, self.batch_size, self.batches, self.workers = order, batch_size, batches, workers
        self.validation_interval = validation_interval or batches_per_epoch(order, batch_size)
        self._lengths = train.seconds if by_length and np.ptp(train.seconds) > 0 else None
        self.batches_done = 0  # since the start of the run; the training module counts

    @property
    def sorts_by_length(self) -> bool:
        """Whether a batch has clips of similar length, because the clips differ."""
        return self._lengths is not None

    def sampler(self) -> BatchSampler:
        """Return the sampler of the whole run. It starts after the batches that are done."""
        world, rank = self._place
        sampler = BatchSampler(self.order, self.batch_size, self.batches, rank, world, self._lengths)
        sampler.start = self.batches_done
        return sampler

    def train_dataloader(self) -> DataLoader[Loaded]:
        """Return the loader of the training batches of the whole run."""
        return self._loader(self.train_clips, self.sampler())

    def val_dataloader(self) -> DataLoader[Loaded]:
        """Return the loader of the validation clips, in the order of the manifest. Each rank gets its batches."""
        world, rank = self._place
        return self._loader(self.validation_clips, InOrder(len(self.validation_clips), self.batch_size, rank, world))

    def state_dict(self) -> dict[str, int]:
        """Return the position of the run."""
        return {"batches_done": self.batches_done, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches that are done."""
        self.batches_done = state["batches_done"]

    @property
    def _place(self) -> tuple[int, int]:
        """Number of processes, and the rank of this one."""
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)

    def _loader(self, clips: ClipDataset, sampler: BatchSampler | InOrder) -> DataLoader[Loaded]:
        on_cuda = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return loader(clips, sampler, self.workers, pinned=on_cuda)

    def transfer_batch_to_device(self, batch: Loaded, device: torch.device, dataloader_idx: int) -> Loaded:
        """Move a batch to a device. Lightning's hook."""
        moved = None if batch.batch is None else batch.batch.to(device, non_blocking=device.type == "cuda")
        return Loaded(moved, batch.set_aside)
