"""The one training loop: a LightningModule for every objective, and what keeps a run alive and honest."""

from __future__ import annotations

import csv
import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from distill.data.dataset import Loaded
from distill.data.errors import UserError
from distill.data.files import file_digest, write_atomically, write_text
from distill.data.lightly import L, TorchCheckpointIO
from distill.data.module import AudioData
from distill.data.store import SetAside
from distill.objectives.objective import Objective
from distill.settings import Engine, Optimizer


class Distiller(L.LightningModule):
    """Minimises an objective.

    Args:
        objective: What is learned, student included.
        optimizer: How.
        steps: Length of the schedule, in optimizer steps.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer, steps: int) -> None:
        super().__init__()
        self.objective, self.optimizer, self.steps = objective.train(), optimizer, steps
        self.set_aside: dict[str, SetAside] = {}
        self.latest: dict[str, float] = {}

    def training_step(self, loaded: Loaded, batch_index: int) -> Tensor | None:
        """Loss of one batch; a batch without a usable clip is left out."""
        self._note(loaded)
        if loaded.batch is None:
            return None
        self.objective.student.at(self.global_step / self.steps)
        losses = self.objective(loaded.batch)
        total = self.objective.total(losses)
        self.latest = {name: float(loss.detach()) for name, loss in losses.items()} | self.objective.observed
        self.latest["loss"] = float(total.detach())
        if not math.isfinite(self.latest["loss"]):
            raise UserError(
                f"the loss is {self.latest['loss']} at step {self.global_step}; the last checkpoint is untouched. "
                f"Try a lower --optimizer.learning_rate. Clips of this batch: {', '.join(loaded.batch.ids[:8])} ..."
            )
        return total

    def validation_step(self, loaded: Loaded, batch_index: int) -> None:
        """Log the mean loss over the validation clips."""
        self._note(loaded)
        if loaded.batch is not None:
            total = self.objective.total(self.objective(loaded.batch))
            measured: dict[str, Tensor | float] = {"loss": total, **self.objective.observed}
            for name, value in measured.items():
                self.log(f"validation_{name}", value, batch_size=len(loaded.batch), sync_dist=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step; then moving averages and temperatures, before any callback saves."""
        super().optimizer_step(*args, **kwargs)
        self.objective.after_step(self.global_step + 1)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by the norm; a norm that is not finite stops the run before it reaches the weights."""
        limit = self.optimizer.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters(), limit))
        if not math.isfinite(norm) and self.trainer.precision != "16-mixed":
            raise UserError(f"the gradient is not finite at step {self.global_step}; the last checkpoint is untouched")

    def configure_optimizers(self) -> Any:
        """AdamW, with weight decay on what has more than one dimension."""
        groups = parameter_groups(self.objective, self.optimizer)
        beta1, beta2 = self.optimizer.betas
        optimizer = torch.optim.AdamW(groups, lr=self.optimizer.learning_rate, betas=(beta1, beta2))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimizer.factor(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _note(self, loaded: Loaded) -> None:
        self.set_aside.update({clip.id: clip for clip in loaded.set_aside})


def parameter_groups(objective: Objective, optimizer: Optimizer) -> list[dict[str, Any]]:
    """What learns, by weight decay (none for biases and norms) and by rate, which may fall with depth."""
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            own = name.startswith("student.")
            height = objective.student.height(name.removeprefix("student.")) if own else 0
            key = (parameter.dim() > 1, optimizer.layer_decay**height)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": optimizer.weight_decay if decays else 0.0,
            "lr": optimizer.learning_rate * factor,
        }
        for (decays, factor), parameters in groups.items()
    ]


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or absent, with their sha256 beside them.

    Lightning's own save passes through the system's temporary folder; where that is another file system, a kill
    leaves an empty file in the place of the good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside, flush to disk, rename."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, lambda file: torch.save(checkpoint, file))
        write_text(target.with_suffix(".sha256"), file_digest(target) + "\n")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors and plain values only."""
        return torch.load(path, map_location=map_location, weights_only=True)


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


def trainer(engine: Engine, data: AudioData, callbacks: list[L.Callback], folder: Path) -> L.Trainer:
    """Lightning's trainer as every run here wants it: one pass over all epochs, nothing written but by callbacks."""
    return L.Trainer(
        accelerator=engine.accelerator,
        devices=engine.devices,
        strategy=engine.strategy,
        precision=engine.precision,  # type: ignore[arg-type]
        max_epochs=1,  # of Lightning: all of our epochs are one pass, so that a position is one number
        val_check_interval=data.sampler().batches_per_epoch,
        check_val_every_n_epoch=None,
        limit_val_batches=1.0 if len(data.validation_clips) else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # ours gives every rank its slice
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
    """Without Lightning's notes on what is meant so."""
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
