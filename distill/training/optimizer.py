"""AdamW, its schedule, and which parameters it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from distill.objectives.objective import Objective

SCHEDULES = ("cosine", "linear", "constant", "efficientat")


_FALLS = (0.4, 0.875)  # between which shares of a run EfficientAT's rate falls: epochs 80 and 175 of 200


@dataclass(frozen=True)
class Optimizer:
    """AdamW with warm-up.

    Args:
        learning_rate: At its highest.
        weight_decay: On matrices and kernels; biases and norms have none.
        warmup: Share of all steps in which the rate rises from 0.
        schedule: "cosine", "linear" (both down to the floor) or "constant" after warm-up; or "efficientat", whose
            warm-up is exponential, and which falls in a line from 0.4 to 0.875 of the run.
        floor: Share of the highest rate that the schedule ends at.
        clip_norm: Largest norm of all gradients together; 0 does not clip.
        betas: Of AdamW's moving averages.
        layer_decay: Factor of the rate for every block that a weight lies below the student's end; 1 is none.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    schedule: str = "cosine"
    floor: float = 0.0
    clip_norm: float = 5.0
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optimizer.schedule {self.schedule!r}: one of {', '.join(SCHEDULES)} is wanted")
        if not self.learning_rate > 0 or not 0 <= self.warmup < 1:
            raise ValueError("optimizer: learning_rate must be above 0, and warmup in [0, 1)")

    def factor(self, step: int, steps: int) -> float:
        """Learning rate at a step, as a share of the highest."""
        warmup = math.ceil(self.warmup * steps)
        if self.schedule == "efficientat":
            rise = math.exp(-5.0 * max(0.0, 1 - max(step, 0.5) / warmup) ** 2) if warmup else 1.0
            fallen = (step / steps - _FALLS[0]) / (_FALLS[1] - _FALLS[0])
            return rise * (1 - (1 - self.floor) * min(1.0, max(0.0, fallen)))
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[self.schedule]
        return self.floor + (1 - self.floor) * left


def parameter_groups(objective: Objective, optimizer: Optimizer) -> list[dict[str, Any]]:
    """What learns, by weight decay (none for biases and norms) and by rate, which may fall with depth."""
    groups: dict[tuple[bool, float], list[torch.nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            own = name.startswith("student.")
            depth = objective.student.layer_depth(name.removeprefix("student.")) if own else 0
            key = (parameter.dim() > 1, optimizer.layer_decay**depth)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": optimizer.weight_decay if decays else 0.0,
            "lr": optimizer.learning_rate * factor,
        }
        for (decays, factor), parameters in groups.items()
    ]
