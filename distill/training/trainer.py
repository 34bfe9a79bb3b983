"""Lightning's trainer with the settings of a run, and atomic checkpoints."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from distill.data.clips.lightning import L, TorchCheckpointIO
from distill.data.clips.module import AudioData
from distill.data.files import file_digest, write_atomically, write_text
from distill.training.engine import Engine


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


def trainer(engine: Engine, data: AudioData, callbacks: list[L.Callback], folder: Path) -> L.Trainer:
    """Return Lightning's trainer. All epochs are one pass, and only callbacks write files."""
    return L.Trainer(
        accelerator=engine.accelerator,
        devices=engine.devices,
        strategy=engine.strategy,
        precision=engine.precision,  # type: ignore[arg-type]
        max_epochs=1,  # Lightning's epochs: all of ours are one pass, so that a position is one number
        val_check_interval=data.validation_interval,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation_clips) else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # our sampler gives every rank its slice
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


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
        ):
            warnings.filterwarnings("ignore", message=f".*{message}.*")
        try:
            yield
        finally:
            logger.setLevel(level)
