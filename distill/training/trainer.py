"""Lightning's trainer with the settings of a run, and atomic checkpoints."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from distill.data.clips.lightning import (
    DDPStrategy,
    L,
    LightningEnvironment,
    TorchCheckpointIO,
    TorchElasticEnvironment,
)
from distill.data.clips.module import AudioData
from distill.data.files import file_digest, write_atomically, write_text
from distill.training.engine import STARTS, Engine
from distill.training.world import World


class AtomicCheckpoints(TorchCheckpointIO):
    """Atomic reading and writing of checkpoints, each with its sha256 in a second file.

    Lightning's own save goes through the system's temporary folder. If that is on another file system, a kill can
    replace a good checkpoint by an empty file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a temporary file in the same folder, flush it to disk and rename it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: torch.save(checkpoint, file))
        write_text(target.with_suffix(".sha256"), file_digest(target) + "\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint. Only tensors and plain values are loaded."""
        return torch.load(path, map_location=map_location, weights_only=True)


class Started(TorchElasticEnvironment):
    """Lightning's view of processes that exist and are connected already, whichever launcher started them.

    Args:
        world: Processes of the run.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def world_size(self) -> int:
        """Return the number of processes."""
        return self.world.size

    def global_rank(self) -> int:
        """Return the number of this process."""
        return self.world.rank

    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return self.world.local_rank

    def node_rank(self) -> int:
        """Return the number of this machine."""
        return self.world.rank * self.world.nodes // self.world.size


class StartedDDP(DDPStrategy):
    """DDP of processes that exist already. It has no launcher: Lightning refuses DDP's launcher in a notebook."""

    def _configure_launcher(self) -> None:
        pass


def trainer(
    engine: Engine, data: AudioData, callbacks: list[L.Callback], folder: Path, world: World | None = None
) -> L.Trainer:
    """Return Lightning's trainer. All epochs are one pass, and only callbacks write files.

    Args:
        engine: Options of the devices.
        data: The run's data.
        callbacks: Callbacks of the run.
        folder: Folder of the run.
        world: Processes of the run, which exist already. None: only this one.
    """
    world = world or World()
    return L.Trainer(
        accelerator=engine.accelerator,
        devices=world.size // world.nodes,
        num_nodes=world.nodes,
        strategy=_strategy(engine.strategy) if world.size > 1 else "auto",
        sync_batchnorm=engine.sync_batch_norm,
        precision=engine.precision,  # type: ignore[arg-type]
        max_epochs=1,  # Lightning's epochs: all of ours are one pass, so that a position is one number
        val_check_interval=data.validation_interval,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation_clips) else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our sampler gives every rank its slice
        callbacks=callbacks,
        plugins=[AtomicCheckpoints(), Started(world) if world.size > 1 else LightningEnvironment()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _strategy(name: str) -> Any:
    """Return Lightning's strategy for processes that exist already, however they were started.

    DDP would give all processes the buffers of rank 0 in each step; `SharedState` averages those that change.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    own_buffers: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }
    if name in ("auto", "ddp", *STARTS):
        return StartedDDP(**own_buffers)
    if name == "ddp_find_unused_parameters_true":
        return StartedDDP(find_unused_parameters=True, **own_buffers)
    return name


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's warnings about settings that are intended."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in (
            "does not have many workers",
            "You're resuming from a checkpoint",
            "mid-epoch",
            "LeafSpec",
            "in eval mode",
            "sync_dist=True",  # the logged means are those of all processes already
        ):
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        try:
            yield
        finally:
            logger.setLevel(level)
