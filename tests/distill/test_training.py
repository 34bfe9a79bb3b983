"""Schedules of the learning rate, and the memory of a process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from distill.settings import Optimizer
from tests.conftest import GOLDEN


def test_efficientats_schedule_equals_the_official_one_at_each_of_its_200_epochs() -> None:
    optimizer = Optimizer(schedule="efficientat", warmup=0.04, floor=0.01)
    official = np.load(GOLDEN / "ssondo" / "lr_schedule.npz")["factor_default_8_95_80_0.01"][:200]
    np.testing.assert_allclose([optimizer.factor(epoch, 200) for epoch in range(200)], official, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "efficientat"])
def test_every_schedule_rises_to_one_and_never_rises_again(schedule: str) -> None:
    optimizer = Optimizer(schedule=schedule, warmup=0.1, floor=0.05)
    factors = np.array([optimizer.factor(step, 1000) for step in range(1001)])
    assert factors.max() == pytest.approx(1.0, abs=1e-2)
    assert (np.diff(factors[:100]) >= 0).all()
    assert (np.diff(factors[101:]) <= 0).all()
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.05)
    assert all(0 < factor <= 1 for factor in factors)


def test_freed_memory_is_used_again() -> None:
    script = """
import resource, torch
from distill.memory import keep_freed_memory

keep_freed_memory()
faults = []
for _ in range(20):  # blocks of a step; of 48 MB, 11,700 pages, glibc keeps none by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(numbers) for numbers in (1_000_000, 3_000_000, 5_000_000, 12_000_000)]
    del held
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""
    faults = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert int(faults) < 100
