"""What a run is told beside its parts: how clips are drawn, and where it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from distill.data.errors import UserError

T = TypeVar("T")
POLICIES = ("uniform", "cluster")


@dataclass(frozen=True)
class Sampling:
    """How training clips are drawn.

    Args:
        policy: "uniform", or "cluster": every cluster of the teacher's embeddings equally often (S-SONDO).
        clusters: How many clusters.
        draws: Clips in an epoch; 0 is as many as there are.
    """

    policy: str = "uniform"
    clusters: int = 50
    draws: int = 0

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"sampling.policy {self.policy!r}: one of {', '.join(POLICIES)} is wanted")


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


def as_settings(kind: type[T], value: Any) -> T:
    """A settings object from itself or from the mapping that config.yaml holds."""
    if isinstance(value, kind):
        return value
    try:
        return kind(**(value or {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"{kind.__name__.lower()}: {error}") from error
