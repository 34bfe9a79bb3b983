"""Settings of AdamW, its learning-rate schedule and its parameter groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from distill.objectives.objective import Objective
from distill.students.student import Student

SCHEDULES = ("cosine", "linear", "constant", "efficientat")
_EFFICIENTAT_DECAY = (0.4, 0.875)  # start and end of the linear decay: epochs 80 and 175 of 200


@dataclass(frozen=True)
class Optimizer:
    """Settings of AdamW and its learning-rate schedule.

    Args:
        learning_rate: Maximum learning rate, above 0. None: that of the student's class.
        weight_decay: Weight decay of matrices and kernels. Biases and norms have none. None: that of the student's
            class.
        warmup: Share of all steps in which the learning rate rises from 0; at least 0 and below 1.
        schedule: Learning rate after warm-up. "cosine" and "linear" fall to the floor; "constant" does not fall;
            "efficientat" has an exponential warm-up and falls linearly between 0.4 and 0.875 of the run.
        floor: Learning rate at the end of the schedule, as a share of the maximum.
        clip_norm: Maximum norm of the gradient of all parameters. 0 disables clipping.
        betas: Decay rates of AdamW's two moving averages.
        layer_decay: Layer-wise decay: the last block's learning rate is multiplied by this factor, the one before it
            by its square, and so on. 1 disables it.

    Raises:
        ValueError: the schedule is unknown, or a number is out of range.
    """

    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup: float = 0.05
    schedule: str = "cosine"
    floor: float = 0.0
    clip_norm: float = 5.0
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule {self.schedule!r}: must be one of {', '.join(SCHEDULES)}")
        if (self.learning_rate is not None and not self.learning_rate > 0) or not 0 <= self.warmup < 1:
            raise ValueError("optimizer: learning_rate must be above 0, warmup at least 0 and below 1")

    def rates(self, student: Student) -> tuple[float, float]:
        """Return learning rate and weight decay for a student: those given, otherwise those of its class."""
        rate, decay = self.learning_rate, self.weight_decay
        return student.learning_rate if rate is None else rate, student.weight_decay if decay is None else decay

    def factor(self, step: int, steps: int) -> float:
        """Return the learning rate at a step, from 0, as a share of the maximum."""
        warmup = math.ceil(self.warmup * steps)
        if self.schedule == "efficientat":
            rise = math.exp(-5.0 * max(0.0, 1 - max(step, 0.5) / warmup) ** 2) if warmup else 1.0
            start, end = _EFFICIENTAT_DECAY
            fall = min(1.0, max(0.0, (step / steps - start) / (end - start)))
            return rise * (1 - (1 - self.floor) * fall)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        share = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[self.schedule]
        return self.floor + (1 - self.floor) * share


def parameter_groups(objective: Objective, optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return AdamW's groups of trainable parameters, by weight decay and by the learning rate of their layer."""
    student = objective.student
    rate, decay = optimizer.rates(student)
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            in_student = name.startswith("student.")
            depth = student.layer_depth(name.removeprefix("student.")) if in_student else 0
            key = (parameter.dim() > 1, optimizer.layer_decay**depth)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": decay if is_matrix else 0.0,
            "lr": rate * factor,
        }
        for (is_matrix, factor), parameters in groups.items()
    ]
