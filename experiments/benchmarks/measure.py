"""What all benchmarks share: medians, ratios, and the sections of BENCHMARKS.md."""

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
Row = tuple[str, str, str, float, float]  # what, ours, rival, ratio, wanted ratio


def seconds_of(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def median(function: Callable[[], object], repeats: int = 3) -> float:
    """Median of the seconds that `function` takes."""
    return statistics.median(seconds_of(function) for _ in range(repeats))


def settled(function: Callable[[], object]) -> float:
    """Seconds of the second of two calls."""
    function()
    return seconds_of(function)


def paired(ours: Callable[[], object], rival: Callable[[], object], pairs: int = 5) -> tuple[float, float, float]:
    """Medians of both, and the median ratio of the pairs.

    They are taken in turns, each after a call of its own that is not measured: threads of the other's libraries go on
    spinning for a while (numpy's made CLAP's front-end take 90 ms instead of 14), and nobody runs the two in turns.
    """
    taken = [(settled(ours), settled(rival)) for _ in range(pairs)]
    medians = [statistics.median(values) for values in zip(*taken, strict=True)]
    return medians[0], medians[1], statistics.median(theirs / mine for mine, theirs in taken)


def peak_kib() -> int:
    """Most memory that this process has held, in KiB; `ru_maxrss` would begin with what its parent held."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def compare(what: str, ours: float, rival: float, wanted: float, rival_name: str, ratio: float | None = None) -> Row:
    return what, f"{ours:.3g} s", f"{rival:.3g} s ({rival_name})", ratio or rival / ours, wanted


def table(rows: Sequence[Row]) -> list[str]:
    lines = ["| what | ours | rival | ratio | wanted |", "|---|---|---|---|---|"]
    return lines + [
        f"| {what} | {ours} | {rival} | {ratio:.2f} | {wanted:g} |" for what, ours, rival, ratio, wanted in rows
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
