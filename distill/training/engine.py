"""Settings of the hardware and the processes of training."""

from __future__ import annotations

from dataclasses import dataclass

STARTS = {"ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}
"""Strategies of Lightning that say how the processes of several devices are started. Others spawn them."""


@dataclass(frozen=True)
class Engine:
    """Settings of the hardware and the processes of training, with Lightning's names.

    Args:
        accelerator: "auto", "cpu" or "gpu".
        devices: Number of devices of each machine. With several devices, `fit` starts a process for each.
        num_nodes: Number of machines. With several, a launcher (torchrun or srun) starts the processes.
        strategy: Lightning's strategy, such as "auto" or "ddp". "ddp_fork" and "ddp_spawn" choose how the processes of
            several devices are started; "auto" and "ddp" spawn them.
        precision: "32-true", "bf16-mixed" or "16-mixed".
        workers: Processes that decode audio, for each device. 0 decodes in the main process.
        checkpoint_minutes: Maximum time between two checkpoints. A checkpoint is also saved at every validation.
        compile: Compile the networks of the student and of live teachers with torch.compile, as
            `--arithmetic.compile` of `distill embed` does.
        sync_batch_norm: Normalise by the statistics of all devices in each step. GPUs only.
        logger: "tensorboard", "wandb", or both with a comma between them: logs the rows of metrics.csv there too.
            Empty: metrics.csv alone.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: str = "32-true"
    workers: int = 1
    checkpoint_minutes: float = 10.0
    compile: bool = False
    sync_batch_norm: bool = False
    logger: str = ""
