"""The training loop: a LightningModule that trains any objective."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from distill.data.clips.dataset import Loaded
from distill.data.clips.lightning import L
from distill.data.errors import UserError
from distill.data.store.format import SetAside
from distill.objectives.objective import Objective
from distill.training.batch_norm import fix_statistics, warm_momentum
from distill.training.metrics_file import VALIDATION
from distill.training.optimizer import Optimizer, parameter_groups


class Distiller(L.LightningModule):
    """Training of an objective, with checks that the loss and the gradient are finite.

    Args:
        objective: Objective to minimise; it contains the student.
        optimizer: Settings of the optimizer and its schedule.
        steps: Length of the schedule, in optimizer steps.
        fixed_from: Step from which batch normalisation of the student keeps its statistics. None: never.

    Attributes:
        set_aside: Clips that could not be used, by id.
        latest: Losses and observed values of the last training batch, by name.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer, steps: int, fixed_from: int | None = None) -> None:
        super().__init__()
        objective.check_teachers()
        self.objective, self.optimizer, self.steps = objective.train(), optimizer, steps
        self.fixed_from = steps if fixed_from is None else fixed_from
        self.set_aside: dict[str, SetAside] = {}
        self.latest: dict[str, float] = {}

    def training_step(self, loaded: Loaded, batch_index: int) -> Tensor | None:
        """Return the loss of one batch, a scalar; None if the batch has no usable clip.

        Raises:
            UserError: the loss is not finite.
        """
        self._collect_set_aside(loaded)
        if loaded.batch is None:
            return None
        warm_momentum(self.objective.student, self.global_step)
        if self.global_step >= self.fixed_from:
            fix_statistics(self.objective.student)
        self.objective.student.on_progress(self.global_step / self.steps)
        losses = self.objective(loaded.batch)
        total = self.objective.total(losses)
        self.latest = {name: float(loss.detach()) for name, loss in losses.items()} | self.objective.observed
        self.latest["loss"] = float(total.detach())
        if not math.isfinite(self.latest["loss"]):
            raise UserError(
                f"the loss is {self.latest['loss']} at step {self.global_step}; the last checkpoint is unchanged. "
                f"Try a lower --optimizer.learning_rate. Clips of this batch: {', '.join(loaded.batch.ids[:8])} ..."
            )
        return total

    def validation_step(self, loaded: Loaded, batch_index: int) -> None:
        """Log the loss and the observed values; Lightning averages them over the validation clips."""
        self._collect_set_aside(loaded)
        if loaded.batch is not None:
            total = self.objective.total(self.objective(loaded.batch))
            measured: dict[str, Tensor | float] = {"loss": total, **self.objective.observed}
            for name, value in measured.items():
                self.log(f"{VALIDATION}{name}", value, batch_size=len(loaded.batch), sync_dist=True)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step. Then update moving averages and temperatures, before a callback saves them."""
        super().optimizer_step(*args, **kwargs)
        self.objective.after_step(self.global_step + 1)

    def configure_gradient_clipping(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip the gradient by its norm. Raises UserError if the norm is not finite, before the weights change."""
        max_norm = self.optimizer.clip_norm or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters(), max_norm))
        # With 16-mixed, the gradient scaler expects infinite gradients: it skips the step and lowers its scale.
        if not math.isfinite(norm) and self.trainer.precision != "16-mixed":
            raise UserError(f"the gradient is not finite at step {self.global_step}; the last checkpoint is unchanged")

    def configure_optimizers(self) -> Any:
        """Return AdamW with its schedule, which changes the learning rate in every step."""
        groups = parameter_groups(self.objective, self.optimizer)
        beta1, beta2 = self.optimizer.betas
        optimizer = torch.optim.AdamW(groups, betas=(beta1, beta2))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.optimizer.factor(step, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _collect_set_aside(self, loaded: Loaded) -> None:
        self.set_aside.update({clip.id: clip for clip in loaded.set_aside})
