"""The progress bar of a run, and the rows of its metrics.csv."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill.data.clips.dataset import Loaded
from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.training.distiller import Distiller
from distill.training.loggers import Loggers
from distill.training.metrics_file import VALIDATION, MetricsFile, add_measured, weighted_means
from distill.training.world import World

_AGREEMENTS: tuple[str, ...] = ("explained", "recall")  # shown beside the loss, which alone says little


class Progress(L.Callback):
    """Callback that shows a bar (loss, speed, time left, share of time spent on waiting for data) and writes rows.

    Args:
        metrics: Path of metrics.csv. When a run resumes, the rows after its checkpoint are removed.
        data: The run's data.
        row_interval: Batches between two rows.
        world: Processes of the run, whose values are averaged. Rank 0 shows and writes them. None: only this one.
        loggers: Names of the loggers that get the rows too, as in `Engine.logger`.
    """

    def __init__(
        self,
        metrics: Path,
        data: AudioData,
        row_interval: int = 20,
        world: World | None = None,
        loggers: str = "",
    ) -> None:
        self.file, self.data, self.row_interval, self.world = MetricsFile(metrics), data, row_interval, world or World()
        self._logger_names, self._loggers = loggers, Loggers("", metrics.parent, 0)
        self._bar: tqdm[Any] | None = None
        self._seconds_waited = self._clips = 0.0  # since the last row
        self._values: dict[str, list[float]] = {}  # sum and number of clips of each value since the last row

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the bar at the batch where the run starts or resumes."""
        done, total = self.data.batches_done, len(self.data.sampler())
        interval = 0.5 if os.isatty(2) else 30.0  # seconds
        if self.world.is_first:
            self.file.keep_until(done)
        self.world.first(lambda: self._open_loggers(done))
        if self.world.is_first:
            self._bar = tqdm(
                total=total, initial=done, desc="fit", unit="batch", mininterval=interval, dynamic_ncols=True
            )
        self._row_began = self._batch_ended = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_index: int) -> None:
        """Add the time since the last batch to the time spent on waiting for data."""
        self._seconds_waited += time.perf_counter() - self._batch_ended

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Loaded, batch_index: int
    ) -> None:
        """Advance the bar. Write a row after each interval and after the last batch."""
        assert isinstance(module, Distiller)
        if batch.batch is not None:
            for name, value in module.latest.items():
                module.readings.add(value, partial(add_measured, self._values, name, len(batch.batch)))
            self._clips += len(batch.batch)
        if self._bar is not None:
            self._bar.update()
        done = self.data.batches_done
        if done % self.row_interval == 0 or done == len(self.data.sampler()):
            module.readings.read()
            self._write_training_row(trainer)
        self._batch_ended = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Write a row with the validation losses. The time of validation does not count as waiting for data."""
        measured = trainer.callback_metrics.items()
        if values := {name: f"{float(value):.6g}" for name, value in measured if name.startswith(VALIDATION)}:
            self._write_row(values)
        self._batch_ended = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def close(self) -> None:
        """Close the loggers. Validation after the training still writes to them."""
        self._loggers.close()

    def _open_loggers(self, done: int) -> None:
        self._loggers = Loggers(self._logger_names, self.file.path.parent, done)

    def _write_training_row(self, trainer: L.Trainer) -> None:
        """Write the means since the last row, and begin new ones."""
        elapsed = max(time.perf_counter() - self._row_began, 1e-9)
        everywhere = self.world.gather((self._values, self._clips, min(1.0, self._seconds_waited / elapsed)))
        means = weighted_means([values for values, _, _ in everywhere])
        clips, wait = sum(clips for _, clips, _ in everywhere), max(wait for _, _, wait in everywhere)
        self._write_row(
            {
                **{name: f"{value:.6g}" for name, value in means.items()},
                "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}",
                "clips_per_second": f"{clips / elapsed:.4g}",
                "data_wait": f"{wait:.3f}",
            }
        )
        if self._bar is not None:
            shown: dict[str, str] = {"loss": f"{means.get('loss', math.nan):.4f}"}
            shown |= {name: f"{means[name]:.2f}" for name in _AGREEMENTS if name in means}
            self._bar.set_postfix(shown | {"wait": f"{wait:.0%}"}, refresh=False)
        self._row_began, self._seconds_waited, self._clips, self._values = time.perf_counter(), 0.0, 0.0, {}

    def _write_row(self, values: Mapping[str, str]) -> None:
        done = self.data.batches_done
        if self.world.is_first:
            row = {"epoch": f"{done / self.data.sampler().batches_per_epoch:.3f}", **values}
            self.file.append(done, row)
            self._loggers.write(done, row)
