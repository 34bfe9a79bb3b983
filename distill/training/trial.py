"""The time of a training step, measured before a run."""

from __future__ import annotations

import time

import torch

from distill.data.clips.module import AudioData
from distill.objectives.objective import Objective
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer, parameter_groups

_WARMUP_STEPS = 3  # the first steps allocate memory and start loader processes
_MEASURED_STEPS = 30
_MAX_SECONDS = 20.0


def measured_step(objective: Objective, data: AudioData, optimizer: Optimizer, engine: Engine) -> float:
    """Return the seconds of a training step, with loading, after a warm-up. The objective is trained meanwhile.

    Args:
        objective: Objective to measure; a copy, as its weights change.
        data: Clips and their order. Its position does not change.
        optimizer: Settings of the optimizer.
        engine: Settings of the device.
    """
    device = device_of(engine)
    objective.to(device).train()
    adam = torch.optim.AdamW(parameter_groups(objective, optimizer))
    began = start = time.perf_counter()
    done = 0
    for done, loaded in enumerate(data.train_dataloader(), start=1):
        if loaded.batch is not None:
            objective.total(objective(loaded.batch.to(device))).backward()
            adam.step()
            adam.zero_grad()
        now = time_when_done(device) if done == _WARMUP_STEPS else time.perf_counter()
        if done == _WARMUP_STEPS:
            start = now
        if done >= _WARMUP_STEPS + _MEASURED_STEPS or now - began > _MAX_SECONDS:
            break
    measured = max(1, done - _WARMUP_STEPS) if done > _WARMUP_STEPS else max(1, done)
    return (time_when_done(device) - start) / measured


def device_of(engine: Engine) -> torch.device:
    """Return the device on which a run of these settings trains."""
    return torch.device("cuda" if engine.accelerator in ("auto", "gpu") and torch.cuda.is_available() else "cpu")


def time_when_done(device: torch.device) -> float:
    """Return the time in seconds, after a CUDA device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
