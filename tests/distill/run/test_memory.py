"""The memory of a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
import distill

faults = []
for _ in range(20):  # blocks of a step; of 48 MB, 11,700 pages, glibc keeps none by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(numbers) for numbers in (1_000_000, 3_000_000, 5_000_000, 12_000_000)]
    del held
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


def fewest_faults(**variables: str) -> int:
    """Return the fewest page faults of a round, in a new process with environment variables."""
    environment = {**os.environ, **variables}
    script = [sys.executable, "-c", SCRIPT]
    return int(subprocess.run(script, capture_output=True, text=True, check=True, env=environment).stdout)


def test_freed_memory_is_used_again_in_python_too() -> None:
    assert fewest_faults() < 100


@pytest.mark.parametrize(
    "variables", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_variables_of_glibc_are_respected(variables: dict[str, str]) -> None:
    assert fewest_faults(**variables) > 100
