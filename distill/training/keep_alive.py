"""Checkpoints of a run: periodic ones, and one before a signal ends the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.stopping import StopSignals


class KeepAlive(L.Callback):
    """Callback that saves checkpoints: at every validation, every few minutes, and on SIGTERM or SIGINT.

    A checkpoint contains the states of torch's random generators, so that a resumed run continues exactly.

    Args:
        folder: Folder of the checkpoints. The newest two are kept.
        data: The run's data. Its position is part of a checkpoint.
        minutes: Maximum time between two checkpoints.
    """

    def __init__(self, folder: Path, data: AudioData, minutes: float = 10.0) -> None:
        self.folder, self.data, self.minutes = folder, data, minutes
        self._signals = StopSignals("saving a checkpoint")
        self._saved_at = time.monotonic()
        self._random_state: Tensor | None = None
        self._device_random_states: list[Tensor] = []

    @property
    def stopped_by(self) -> int | None:
        """Number of the signal that stopped the run; None otherwise."""
        return self._signals.stopped_by

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Handle the signals, as Lightning would exit with code 0 and save nothing. Restore the random state."""
        self._signals.__enter__()
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
        if len(self._device_random_states) == torch.cuda.device_count():  # otherwise the run resumes on another machine
            torch.cuda.set_rng_state_all(self._device_random_states)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Count the batch. Save after the interval, after a signal, and where a validation would be."""
        self.data.batches_done += 1
        at_interval = self.data.batches_done % self.data.validation_interval == 0
        ends_epoch = at_interval and not len(self.data.validation_clips)
        if self.stopped_by or ends_epoch or time.monotonic() - self._saved_at > 60 * self.minutes:
            self.save(trainer)
        if self.stopped_by:
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save after a validation in training, whose results are then part of the checkpoint."""
        if trainer.state.fn == "fit":
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Restore the previous signal handlers."""
        self._signals.__exit__()

    def save(self, trainer: L.Trainer) -> None:
        """Write a checkpoint, then delete all but the newest two checkpoints."""
        trainer.save_checkpoint(self.folder / f"step_{self.data.batches_done:09d}.ckpt")
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"))[:-2]:
                old.unlink()
                old.with_suffix(".sha256").unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of torch's generators, which Lightning does not save."""
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"random_state": torch.get_rng_state(), "device_random_states": devices}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the generators' states until `on_train_start` restores them."""
        self._random_state, self._device_random_states = state["random_state"], state["device_random_states"]

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark the only epoch of Lightning as not ended, so that a finished run can resume with more epochs."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
