"""What a run is told beside its parts: how clips are drawn, how weights learn, and where it computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

POLICIES = ("uniform", "cluster", "hierarchical", "label")
SCHEDULES = ("cosine", "linear", "constant", "efficientat")
_FALLS = (0.4, 0.875)  # between which shares of a run EfficientAT's rate falls: epochs 80 and 175 of 200


@dataclass(frozen=True)
class Sampling:
    """How training clips are drawn.

    Args:
        policy: "uniform"; "cluster": every cluster of the teacher's embeddings equally often (S-SONDO);
            "hierarchical": clusters of clusters, half of them of an even cover, which spread more evenly over all
            kinds of sound; or "label": rare labels more often (EfficientAT).
        clusters: How many clusters.
        levels: Clusters of each level of the hierarchy, the finest first; none chooses by the number of clips.
        temper: From 0, uniform, to 1, the policy as it is.
        max_repeats: Times that a clip is drawn in an epoch at the most, a fraction rounded up; 0 sets no limit.
        duplicates: Cosine from which clips are duplicates that share the draws of one; 0 looks for none.
        draws: Clips in an epoch; 0 is as many as there are.
    """

    policy: str = "uniform"
    clusters: int = 50
    levels: tuple[int, ...] = ()
    temper: float = 1.0
    max_repeats: float = 0.0
    duplicates: float = 0.0
    draws: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: one of {', '.join(POLICIES)} is wanted")
        if not 0 <= self.temper <= 1 or not 0 <= self.duplicates <= 1 or self.max_repeats < 0:
            raise ValueError("sampling: temper and duplicates lie from 0 to 1, and max_repeats is not below 0")

    @property
    def needs_store(self) -> str:
        """What is made from the teacher's stored embeddings, in words, where something is."""
        if self.policy in ("cluster", "hierarchical"):
            return "clusters"
        return "near-duplicates" if self.duplicates else ""


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


@dataclass(frozen=True)
class Engine:
    """Where and how training runs; Lightning's words.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        devices: How many.
        strategy: Such as "auto" or "ddp".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        workers: Processes per device that decode audio.
        checkpoint_minutes: Between two checkpoints at the most; there is one at the end of every epoch too.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int = 1
    checkpoint_minutes: float = 10.0


@dataclass(frozen=True)
class FineTuning:
    """How an encoder is fine-tuned. All of it is fixed beforehand; the last state is scored, not the best.

    Args:
        epochs: Passes over the training clips.
        learning_rate: At its highest; it rises in a tenth of the steps and falls as a cosine.
        batch_size: Clips in a batch.
    """

    epochs: int = 20
    learning_rate: float = 3e-4
    batch_size: int = 32
