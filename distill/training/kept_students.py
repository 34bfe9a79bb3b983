"""Students that are kept in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.distiller import Distiller


class KeptStudents(L.Callback):
    """Callback that saves the student after given steps.

    Args:
        folder: Folder of the kept students; each has a folder such as `step_000000100`.
        data: The run's data.
        steps: Steps after which the student is saved.
        save: Function that saves the student into a folder.
    """

    def __init__(self, folder: Path, data: AudioData, steps: Collection[int], save: Callable[[Path], None]) -> None:
        self.folder, self.data, self.steps, self.save = folder, data, frozenset(steps), save

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Save the student on rank 0 if its step has come."""
        if self.data.batches_done not in self.steps:
            return
        if isinstance(module, Distiller):
            module.readings.read()  # raises if a loss was not finite
            module.shared.average_batch_norm()
        if trainer.is_global_zero:
            self.save(self.folder / f"step_{self.data.batches_done:09d}")
