"""The training loop: a LightningModule that trains any objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.clips.dataset import Loaded
from distill.data.clips.lightning import L
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.objectives.objective import Objective
from distill.objectives.parts.observed import Observed, observe
from distill.training.batch_norm import fix_statistics, warm_momentum
from distill.training.metrics_file import VALIDATION, add_measured, weighted_means
from distill.training.optimizer import Optimizer, parameter_groups
from distill.training.readings import Readings
from distill.training.shared_state import SharedState
from distill.training.world import World


class Distiller(L.LightningModule):
    """Training of an objective, with checks that the loss and the gradient are finite.

    On a CPU, each step is checked at once. On other devices, the host would wait for each loss, so losses are checked
    when `readings` are read: before a row of metrics.csv, a validation, a checkpoint and the end.

    Args:
        objective: Objective to minimise; it contains the student.
        optimizer: Settings of the optimizer and its schedule.
        steps: Length of the schedule, in optimizer steps.
        fixed_from: Step from which batch normalisation of the student keeps its statistics. None: never.
        world: Processes of the run. None: only this one.

    Attributes:
        set_aside: Clips that could not be used here, by id.
        clips: Usable clips of this step in all processes. With several processes, a callback sets it before the step.
        synchronises: Whether batch normalisation waits for all processes, so that each must have a clip in each step.
        shared: State that all processes share.
        latest: Losses and observed values of the last training batch, by name.
        readings: Values that wait on the device.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        fixed_from: int | None = None,
        world: World | None = None,
    ) -> None:
        super().__init__()
        objective.check_teachers()
        self.objective, self.optimizer, self.steps = objective.train(), optimizer, steps
        self.fixed_from = steps if fixed_from is None else fixed_from
        self.set_aside: dict[str, SetAside] = {}
        self.latest: dict[str, Observed] = {}
        self.readings = Readings()
        self.world = world or World()
        self.shared = SharedState(self.objective, self.world)
        self.clips = 0
        self.synchronises = False
        self._is_fixed = False
        self._measured: dict[str, list[float]] = {}  # sum and number of clips of each held-out value

    def on_fit_start(self) -> None:
        """Give all processes the same state."""
        self.shared.begin()
        self.synchronises = any(isinstance(module, nn.SyncBatchNorm) for module in self.modules())

    def training_step(self, loaded: Loaded, batch_index: int) -> Tensor | None:
        """Return the loss of one batch, a scalar; None if a single process has no usable clip.

        The gradients of the processes are averaged. So the loss is weighted by the share of the clips that are here.

        Raises:
            UserError: the loss is not finite, or the objective has found that training fails.
        """
        self._collect_set_aside(loaded)
        here = len(loaded.batch) if loaded.batch else 0
        everywhere = self.clips if self.world.size > 1 else here
        if not everywhere:
            return self._zero() if self.world.size > 1 else None  # Lightning does not let several processes skip
        warm_momentum(self.objective.student, self.global_step)
        if self.global_step >= self.fixed_from:
            self._fix_statistics()
        self.objective.student.on_progress(self.global_step / self.steps)
        if loaded.batch is None:
            return self._zero()
        losses = self.objective(loaded.batch)
        total = self.objective.total(losses)
        self.latest = {name: observe(float, loss) for name, loss in losses.items()} | self.objective.observed
        self.latest["loss"] = observe(float, total)
        for name, value in self.objective.observed.items():
            self.readings.add(value, partial(self.objective.check_observed, name, self.global_step + 1))
        self.readings.add(self.latest["loss"], partial(_check_loss, self.global_step, loaded.batch.ids[:8]))
        return total * (here * self.world.size / everywhere) if self.world.size > 1 else total

    def validation_step(self, loaded: Loaded, batch_index: int) -> None:
        """Measure the loss and the observed values of one batch."""
        self._collect_set_aside(loaded)
        if loaded.batch is not None:
            total = self.objective.total(self.objective(loaded.batch))
            for name, value in {"loss": observe(float, total), **self.objective.observed}.items():
                self.readings.add(value, partial(add_measured, self._measured, name, len(loaded.batch)))

    def on_validation_start(self) -> None:
        """Evaluate with the statistics of all processes."""
        self.readings.read()
        self.shared.average_batch_norm()

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation clips of all processes."""
        self.readings.read()
        everywhere, self._measured = self.world.gather(self._measured), {}
        for name, mean in weighted_means(everywhere).items():
            self.log(f"{VALIDATION}{name}", mean)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Remove the gradients of 0 if no process has a usable clip, so that momentum changes no weight."""
        if self.world.size > 1 and not self.clips:
            optimizer.zero_grad()

    def on_train_end(self) -> None:
        """Keep the statistics of all processes."""
        self.readings.read()
        self.shared.average_batch_norm()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step. Then update moving averages, temperatures and statistics, before a callback saves them."""
        super().optimizer_step(*args, **kwargs)
        self.objective.after_step(self.global_step + 1)
        self.shared.average_statistics()

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip the gradient by its norm. Raises UserError if the norm is not finite; on a CPU, the weights are kept."""
        max_norm = self.optimizer.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), max_norm)
        # With 16-mixed, the gradient scaler expects infinite gradients: it skips the step and lowers its scale.
        if self.trainer.precision != "16-mixed":
            self.readings.add(observe(float, norm), partial(_check_norm, self.global_step))

    def configure_optimizers(self) -> Any:
        """Return AdamW with its schedule, which changes the learning rate in every step."""
        groups = parameter_groups(self.objective, self.optimizer)
        beta1, beta2 = self.optimizer.betas
        optimizer = torch.optim.AdamW(groups, betas=(beta1, beta2))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimizer.factor(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _fix_statistics(self) -> None:
        """Normalise by the running statistics of all processes from now on."""
        if not self._is_fixed:
            self.shared.average_batch_norm()
            self._is_fixed = True
        fix_statistics(self.objective.student)

    def _zero(self) -> Tensor:
        """Return a loss of 0 with a gradient of 0, for a process without a usable clip in this step."""
        parameters = (parameter for parameter in self.parameters() if parameter.requires_grad)
        return torch.stack([parameter.sum() for parameter in parameters]).sum() * 0.0

    def _collect_set_aside(self, loaded: Loaded) -> None:
        self.set_aside.update({clip.id: clip for clip in loaded.set_aside})


def _check_loss(step: int, ids: Sequence[str], loss: float) -> None:
    if not math.isfinite(loss):
        raise UserError(
            f"the loss is {loss} at step {step}; the last checkpoint is unchanged. "
            f"Try a lower --optimizer.learning_rate. Clips of this batch: {', '.join(ids)} ..."
        )


def _check_norm(step: int, norm: float) -> None:
    if not math.isfinite(norm):
        raise UserError(f"the gradient is not finite at step {step}; the last checkpoint is unchanged")
