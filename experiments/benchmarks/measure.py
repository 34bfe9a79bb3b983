"""Medians, ratios and the sections of BENCHMARKS.md, shared by all benchmarks."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
Row = tuple[str, str, str, float, float]  # case, ours, rival, ratio, goal of the ratio


def seconds_of(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def median(function: Callable[[], object], repeats: int = 3) -> float:
    """Return the median of the seconds that `function` takes."""
    return statistics.median(seconds_of(function) for _ in range(repeats))


def settled(function: Callable[[], object]) -> float:
    """Return the seconds of the second of two calls."""
    function()
    return seconds_of(function)


def paired(ours: Callable[[], object], rival: Callable[[], object], pairs: int = 5) -> tuple[float, float, float]:
    """Return the median seconds of both, and the median ratio of the pairs.

    The two run in turns, each after a call of its own that is not measured. Threads of the other's libraries keep
    spinning for a while: numpy's made CLAP's front-end take 90 ms instead of 14. Users do not run the two in turns.
    """
    taken = [(settled(ours), settled(rival)) for _ in range(pairs)]
    medians = [statistics.median(values) for values in zip(*taken, strict=True)]
    return medians[0], medians[1], statistics.median(theirs / mine for mine, theirs in taken)


def peak_kib() -> int:
    """Return the peak memory of this process in KiB. `ru_maxrss` would include that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def compare(case: str, ours: float, rival: float, goal: float, rival_name: str, ratio: float | None = None) -> Row:
    return case, f"{ours:.3g} s", f"{rival:.3g} s ({rival_name})", ratio or rival / ours, goal


def table(rows: Sequence[Row]) -> list[str]:
    lines = ["| case | ours | rival | ratio | goal |", "|---|---|---|---|---|"]
    return lines + [
        f"| {case} | {ours} | {rival} | {ratio:.2f} | {goal:g} |" for case, ours, rival, ratio, goal in rows
    ]


def machine() -> str:
    threads = f"{os.cpu_count()} cores ({platform.machine()})"
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{threads}{device}, Python {platform.python_version()}, torch {torch.__version__}"


def write_section(title: str, lines: Sequence[str]) -> None:
    """Replace a section of BENCHMARKS.md, or add it at the end."""
    path = ROOT / "BENCHMARKS.md"
    text = path.read_text()
    section = "\n".join([f"## {title}", "", f"On {machine()}.", "", *lines]) + "\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    text = pattern.sub(lambda _: section + "\n", text) if pattern.search(text) else f"{text.rstrip()}\n\n{section}"
    path.write_text(text.rstrip() + "\n")
    print(section)
