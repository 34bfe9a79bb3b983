"""The one training loop: a LightningModule for every objective, and what keeps a run alive and honest."""

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
from distill.training.optimizer import Optimizer, parameter_groups


class Distiller(L.LightningModule):
    """Minimises an objective.

    Args:
        objective: What is learned, student included.
        optimizer: How.
        steps: Length of the schedule, in optimizer steps.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer, steps: int) -> None:
        super().__init__()
        objective.check_teachers()
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
