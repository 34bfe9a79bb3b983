"""Checkpoints of a run: periodic ones, and one before a signal ends the run. All processes save and stop together."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from distill.data.clips.dataset import Loaded
from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.distiller import Distiller
from distill.training.stopping import StopSignals
from distill.training.world import World

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class KeepAlive(L.Callback):
    """Callback that saves checkpoints: at every validation, every few minutes, and on SIGTERM or SIGINT.

    A checkpoint contains the states of torch's random generators, so that a resumed run continues exactly.

    With several processes, one sum in each step tells them how many clips are usable, whether one of them has received
    a signal, and whether rank 0 finds that the time for a checkpoint has come.

    Args:
        folder: Folder of the checkpoints. The newest two are kept.
        data: The run's data. Its position is part of a checkpoint.
        minutes: Maximum time between two checkpoints.
        world: Processes of the run. None: only this one.

    Attributes:
        stopped_by: Number of the signal that stopped the run; None otherwise.
    """

    def __init__(self, folder: Path, data: AudioData, minutes: float = 10.0, world: World | None = None) -> None:
        self.folder, self.data, self.minutes, self.world = folder, data, minutes, world or World()
        self.stopped_by: int | None = None
        self._signals = StopSignals("saving a checkpoint", prints=self.world.is_first)  # to this process
        self._is_due = False  # whether a checkpoint must be saved after this step
        self._saved_at = time.monotonic()
        self._states: list[_RandomState] = []  # of each process

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Handle the signals, as Lightning would exit with code 0 and save nothing. Restore the random state."""
        self._signals.__enter__()
        if self.world.rank < len(self._states):  # otherwise the run resumes with more processes
            self._states[self.world.rank].restore()

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Loaded, batch_index: int
    ) -> None:
        """Agree with the other processes about this step."""
        if self.world.size > 1:
            assert isinstance(module, Distiller)
            wishes = [*(self._signals.stopped_by == number for number in _SIGNALS), self._interval_is_over()]
            clips = len(batch.batch) if batch.batch else 0
            sums = self.world.sum(torch.tensor([clips, int(clips == 0), *map(int, wishes)]))
            module.clips, without, *agreed = sums.tolist()
            if without and module.synchronises:
                module.clips = 0
            self.stopped_by = next((number for number, wish in zip(_SIGNALS, agreed, strict=False) if wish), None)
            self._is_due = bool(agreed[-1])

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Count the batch. Save after the interval, after a signal, and where a validation would be."""
        if self.world.size == 1:
            self.stopped_by, self._is_due = self._signals.stopped_by, self._interval_is_over()
        self.data.batches_done += 1
        at_interval = self.data.batches_done % self.data.validation_interval == 0
        ends_epoch = at_interval and not len(self.data.validation_clips)
        if self.stopped_by or ends_epoch or self._is_due:
            self.save(trainer)
        if self.stopped_by:
            trainer.should_stop = True
            if not at_interval:  # Lightning would validate here, which takes long and adds a row
                trainer.limit_val_batches = 0

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """End at a signal in a validation after training, when all is saved. Lightning would wait for other processes.

        The handlers of training wait for the end of a batch.
        """
        if trainer.state.fn != "fit" and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save after a validation in training, whose results are then part of the checkpoint."""
        if trainer.state.fn == "fit":
            self.save(trainer)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Restore the previous signal handlers."""
        self._signals.__exit__()

    def save(self, trainer: L.Trainer) -> None:
        """Write a checkpoint, then delete all but the newest two checkpoints."""
        if isinstance(trainer.lightning_module, Distiller):
            trainer.lightning_module.readings.read()  # raises before a checkpoint with a loss that is not finite
            trainer.lightning_module.shared.average_batch_norm()
        trainer.save_checkpoint(self.folder / f"step_{self.data.batches_done:09d}.ckpt")
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            for old in sorted(self.folder.glob("step_*.ckpt"))[:-2]:
                old.unlink()
                old.with_suffix(".sha256").unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of torch's generators in all processes, which Lightning does not save."""
        first, *others = self.world.gather(_RandomState.now())
        return {
            "random_state": first.cpu,
            "device_random_states": first.devices,
            "other_random_states": [[state.cpu, state.devices] for state in others],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keep the generators' states until `on_train_start` restores them."""
        first = [state["random_state"], state["device_random_states"]]
        others = state.get("other_random_states", [])  # earlier versions did not save them
        self._states = [_RandomState(*values) for values in (first, *others)]

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark the only epoch of Lightning as not ended, so that a finished run can resume with more epochs."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False

    def _interval_is_over(self) -> bool:
        """Return whether a checkpoint must be saved. The clock of rank 0 decides."""
        return self.world.is_first and time.monotonic() - self._saved_at > 60 * self.minutes


class _RandomState(NamedTuple):
    """The states of torch's generators of a process: that of the CPU, and those of all GPUs."""

    cpu: Tensor
    devices: list[Tensor]

    @classmethod
    def now(cls) -> _RandomState:
        """Return the present states."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])

    def restore(self) -> None:
        """Set the states. Those of GPUs are left out if the run resumes on another machine."""
        torch.set_rng_state(self.cpu)
        if len(self.devices) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(self.devices)
