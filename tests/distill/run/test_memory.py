"""The memory of a process."""

from __future__ import annotations

import subprocess
import sys


def test_freed_memory_is_used_again() -> None:
    script = """
import resource, torch
from distill.run.memory import keep_freed_memory

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
