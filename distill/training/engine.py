"""Settings of the hardware and the processes of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """Settings of the hardware and the processes of training, with Lightning's names.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        devices: Number of devices.
        strategy: Lightning's strategy, such as "auto" or "ddp".
        precision: "32-true", "bf16-mixed" or "16-mixed".
        workers: Processes that decode audio, for each device. 0 decodes in the main process.
        checkpoint_minutes: Maximum time between two checkpoints. A checkpoint is also saved at every validation.
    """

    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int = 1
    checkpoint_minutes: float = 10.0
