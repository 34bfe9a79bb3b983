"""Checkpoints of a run, at every end that a run can have."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData


class KeepAlive(L.Callback):
    """Saves at the end of every epoch, every few minutes, and when asked to stop; remembers the random state.

    Args:
        folder: Of the checkpoints; the newest two are kept.
        data: The run's data, whose position is saved with it.
        minutes: Between two checkpoints at the most.
    """

    def __init__(self, folder: Path, data: AudioData, minutes: float = 10.0) -> None:
        self.folder, self.data, self.minutes = folder, data, minutes
        self.stopped_by: int | None = None
        self._saved_at = time.monotonic()
        self._random_state: Tensor | None = None
        self._device_random_states: list[Tensor] = []
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take over the signals (Lightning would end with exit code 0 and save nothing), restore the random state."""
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._ask_to_stop)
            except ValueError:  # not in the main thread: the caller's signals are the caller's
                break
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
        if len(self._device_random_states) == torch.cuda.device_count():  # else it is another machine
            torch.cuda.set_rng_state_all(self._device_random_states)

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Count the batch; save if it is time."""
        self.data.batches_done += 1
        at_epoch_end = self.data.batches_done % self.data.sampler().batches_per_epoch == 0
        if self.stopped_by or at_epoch_end or time.monotonic() - self._saved_at > 60 * self.minutes:
            self.save(trainer)
        if self.stopped_by:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def save(self, trainer: L.Trainer) -> None:
        """Write a checkpoint, then delete all but the newest two."""
        trainer.save_checkpoint(self.folder / f"step_{self.data.batches_done:09d}.ckpt")
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"))[:-2]:
                old.unlink()
                old.with_suffix(".sha256").unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """The states of torch's generators, which Lightning does not save."""
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"random_state": torch.get_rng_state(), "device_random_states": devices}

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """A run that has ended can be given more epochs: Lightning would take its only pass for done."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the generators' states until training starts."""
        self._random_state, self._device_random_states = state["random_state"], state["device_random_states"]

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by == signal.SIGINT == number:
            raise KeyboardInterrupt  # asked twice
        self.stopped_by = number
        os.write(2, b"\nstopping after this batch and saving a checkpoint ...\n")
