"""What a run shows while it trains."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill.data.clips.dataset import Loaded
from distill.data.clips.lightning import L
from distill.data.clips.module import AudioData
from distill.data.files import write_text
from distill.training.distiller import Distiller


class Progress(L.Callback):
    """A bar with rate, time left, loss and share of time spent waiting for data; and rows of metrics.csv.

    Args:
        metrics: File; rows after the step that is resumed from are dropped. Beside `columns` it has one for each
            named loss, and for whatever else the objective observes.
        data: The run's data.
        every: Batches between two rows.
    """

    columns = ("batch", "epoch", "loss", "validation_loss", "learning_rate", "clips_per_second", "data_wait")

    def __init__(self, metrics: Path, data: AudioData, every: int = 20) -> None:
        self.metrics, self.data, self.every = metrics, data, every
        self._bar: tqdm[Any] | None = None
        self._waited = self._clips = 0.0
        self._sums: dict[str, list[float]] = {}
        self._columns = list(self.columns)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Open the bar where the run goes on."""
        done, total = self.data.batches_done, len(self.data.sampler())
        self._keep_rows(done)
        interval = 0.5 if os.isatty(2) else 30.0
        self._bar = tqdm(total=total, initial=done, desc="fit", unit="batch", mininterval=interval, dynamic_ncols=True)
        self._since = self._last_end = time.perf_counter()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_index: int) -> None:
        """The time since the last batch was spent waiting for data."""
        self._waited += time.perf_counter() - self._last_end

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Loaded, batch_index: int
    ) -> None:
        """Move the bar; write a row now and then."""
        assert isinstance(module, Distiller)
        if batch.batch is not None:
            for name, value in module.latest.items():
                self._sums.setdefault(name, []).append(value)
            self._clips += len(batch.batch)
        if self._bar is not None:
            self._bar.update()
        if self.data.batches_done % self.every == 0 or self.data.batches_done == len(self.data.sampler()):
            self._row(trainer)
        self._last_end = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """A row with the validation loss; validating is no waiting."""
        measured = trainer.callback_metrics.items()
        if values := {name: f"{float(value):.6g}" for name, value in measured if name.startswith("validation_")}:
            self._write(values)
        self._last_end = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _row(self, trainer: L.Trainer) -> None:
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        means = {name: sum(values) / len(values) for name, values in self._sums.items()}
        wait = min(1.0, self._waited / elapsed)
        self._write(
            {
                **{name: f"{value:.6g}" for name, value in means.items()},
                "learning_rate": f"{trainer.optimizers[0].param_groups[0]['lr']:.6g}",
                "clips_per_second": f"{self._clips / elapsed:.4g}",
                "data_wait": f"{wait:.3f}",
            }
        )
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{means.get('loss', math.nan):.4f}", wait=f"{wait:.0%}", refresh=False)
        self._since, self._waited, self._clips, self._sums = time.perf_counter(), 0.0, 0.0, {}

    def _write(self, values: Mapping[str, str]) -> None:
        done = self.data.batches_done
        row = {"batch": done, "epoch": f"{done / self.data.sampler().batches_per_epoch:.3f}", **values}
        if unknown := [name for name in row if name not in self._columns]:
            self._columns += unknown  # training and validation measure different things
            self._keep_rows(done)
        with open(self.metrics, "a", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)

    def _keep_rows(self, done: int) -> None:
        """Write the file anew with all columns; a resumed run leaves out the rows after its checkpoint."""
        kept: list[list[str]] = []
        if self.metrics.exists():
            with open(self.metrics, newline="") as file:
                header, *lines = [line for line in csv.reader(file) if line] or [[]]
            self._columns = list(dict.fromkeys([*header, *self._columns]))
            kept = [line for line in lines if len(line) == len(header) and int(line[0]) <= done]
        spare = len(self._columns)
        rows = [self._columns, *(line + [""] * (spare - len(line)) for line in kept)]
        write_text(self.metrics, "".join(",".join(row) + "\n" for row in rows))
