"""The similarities of a prediction and of its target to the targets of other clips, compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.losses.host_value import HostValue


class QueueKullbackLeibler(nn.Module):
    """Kullback-Leibler divergence between softmaxes over similarities to targets: those of the batch and past ones.

    The softmax of a target's cosines says which clips the teacher finds similar; the softmax of the prediction's
    cosines must agree (the distillation of lightly-train 0.18, with its temperature of 0.07). The queue holds the
    latest targets of training. Evaluation reads it, and does not change it.

    Args:
        temperature: Divisor of the cosines in both softmaxes, above 0.
        size: Number of past targets, at least 0.

    Raises:
        ValueError: a number is out of range.
    """

    retrieves = True

    def __init__(self, temperature: float = 0.1, size: int = 2048) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature}: must be above 0")
        if size < 0:
            raise ValueError(f"size {size}: must be at least 0")
        self.temperature, self.size = temperature, size
        # The first target sets the dim. Then the shape is fixed, as several processes must have equal buffers.
        self.register_buffer("queue", torch.zeros(size, 0))
        self.register_buffer("filled", torch.tensor(0))  # rows of the queue with a target; the latest target is first
        self.queue: Tensor
        self.filled: Tensor
        self._known_filled = HostValue()

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean divergence over rows, a scalar, given predictions and targets (rows, dim)."""
        prediction, target = (F.normalize(rows.float(), dim=1) for rows in (prediction, target.detach()))
        student, teacher = (self._log_shares(rows, target) for rows in (prediction, target))
        if self.training:
            self._add(target)
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True)

    def _log_shares(self, rows: Tensor, target: Tensor) -> Tensor:
        """Return the log-softmax of cosines to the batch's and to past targets. Shape (rows, targets)."""
        cosines = rows @ target.T
        if filled := int(self._known_filled.get(self.filled)):
            cosines = torch.cat([cosines, rows @ self.queue[:filled].T], 1)
        return (cosines / self.temperature).log_softmax(1)

    def _add(self, target: Tensor) -> None:
        """Put targets (rows, dim) first and drop the oldest ones. The gradient needs the old tensor unchanged."""
        queue = self.queue if self.queue.shape[1] else target.new_zeros(self.size, target.shape[1])
        added = min(len(target), self.size)
        self.queue = torch.cat([target[:added], queue[: self.size - added]])
        self._known_filled.set(self.filled, min(self._known_filled.get(self.filled) + added, self.size))

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        """Read a queue of any dim."""
        stored = state.get(f"{prefix}queue", self.queue)
        self.queue = torch.empty_like(stored, device=self.queue.device)
        super()._load_from_state_dict(state, prefix, *args)
