"""Where and how training runs."""

from __future__ import annotations

from dataclasses import dataclass


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
