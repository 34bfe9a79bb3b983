"""Medians, ratios and the sections of BENCHMARKS.md, shared by all benchmarks."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "BENCHMARKS.md"
T = TypeVar("T")
PAIRS = 5  # measured at least
_BEGIN, _END = "<!-- measured -->", "<!-- end of what was measured -->"


@dataclass(frozen=True)
class Row:
    """A measured case beside its goal.

    Args:
        case: What is measured.
        ours: Its median, in `unit`.
        rival: Median of the rival in the same run, in `unit`. None: no rival; then `ours` must be at most `goal`.
        goal: With a rival, the ratio that must be reached. NaN: there is no goal.
        rival_name: Name of the rival.
        ratio: Median of the ratios of the pairs. None: `rival` / `ours`.
        unit: Unit of both. Less is better.
        of_sgemm: Rate of the products in our case, as a share of that of sgemm at the same sizes. None: not measured.
        sgemm_goal: A share that reaches the goal too.
    """

    case: str
    ours: float
    rival: float | None
    goal: float
    rival_name: str = ""
    ratio: float | None = None
    unit: str = "s"
    of_sgemm: float | None = None
    sgemm_goal: float = math.inf

    @property
    def compared(self) -> float | None:
        """The rival's time as a multiple of ours. None: there is no rival."""
        return self.ratio if self.rival is None or self.ratio is not None else self.rival / self.ours

    @property
    def missed(self) -> bool:
        """Whether neither goal is reached."""
        if self.of_sgemm is not None and self.of_sgemm >= self.sgemm_goal:
            return False
        return self.ours > self.goal if self.compared is None else self.compared < self.goal

    def cells(self) -> list[str]:
        """Return case, ours, rival, ratio, share of sgemm, and goal."""
        rival = "" if self.rival is None else f"{self.rival:.3g} {self.unit} ({self.rival_name})"
        ratio = "" if self.compared is None else f"{self.compared:.2f}"
        share = "" if self.of_sgemm is None else f"{self.of_sgemm:.2f}"
        goal = (
            "none"
            if math.isnan(self.goal)
            else f"{self.goal:g}"
            if self.rival is not None
            else f"at most {self.goal:g}"
        )
        goal += f", or {self.sgemm_goal:g} of sgemm" if math.isfinite(self.sgemm_goal) else ""
        return [self.case, f"{self.ours:.3g} {self.unit}", rival, ratio, share, goal + " (missed)" * self.missed]


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


def in_turns(
    ours: T, rival: T, pairs: int = PAIRS, measure: Callable[[T], float] = seconds_of
) -> tuple[float, float, float]:
    """Return the medians of what `measure` gives for both, which run in turns, and the median ratio of the pairs."""
    ((median_of_ours, ratio),), theirs = several_in_turns([ours], rival, pairs, measure)
    return median_of_ours, theirs, ratio


def several_in_turns(
    ours: Sequence[T], rival: T, rounds: int = PAIRS, measure: Callable[[T], float] = seconds_of
) -> tuple[list[tuple[float, float]], float]:
    """Measure several sides of ours and one rival in turns.

    Returns:
        The median and the median ratio of each of ours, and the median of the rival.
    """
    taken = [([measure(side) for side in ours], measure(rival)) for _ in range(rounds)]
    found = []
    for number in range(len(ours)):
        ratios = [theirs / sides[number] for sides, theirs in taken]
        found.append((statistics.median(sides[number] for sides, _ in taken), statistics.median(ratios)))
    return found, statistics.median(theirs for _, theirs in taken)


def paired(ours: Callable[[], object], rival: Callable[[], object], pairs: int = PAIRS) -> tuple[float, float, float]:
    """Return the median seconds of both, and the median ratio of the pairs.

    The two run in turns, each after a call of its own that is not measured. Threads of the other's libraries keep
    spinning for a while: numpy's made CLAP's front-end take 90 ms instead of 14. Users do not run the two in turns.
    """
    return in_turns(ours, rival, pairs, settled)


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of this process that `function` takes."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def peak_kib() -> int:
    """Return the peak memory of this process in KiB. `ru_maxrss` would include that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def table(rows: Sequence[Row]) -> list[str]:
    """Return a table of Markdown, without the columns that are empty."""
    heads = ["case", "ours", "rival", "ratio", "of sgemm", "goal"]
    columns = [[head, *cells] for head, *cells in zip(heads, *(row.cells() for row in rows), strict=True)]
    lines = zip(*(column for column in columns if any(column[1:])), strict=True)
    first, *others = (f"| {' | '.join(cells)} |" for cells in lines)
    return [first, "|---" * first.count(" | ") + "|---|", *others]


def processor() -> str:
    """Return the name of the processor, its family, and its instructions for wide arithmetic."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model|flags)\s*: (.*)$", text, re.MULTILINE))
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in found.get("flags", "").split()]
    numbers = f"family {found.get('cpu family', '?')}, model {found.get('model', '?')}"
    return f"{found.get('model name', platform.machine())} ({numbers}; {', '.join(wide) or platform.machine()})"


def machine() -> str:
    """Return the processor, its cores, and the versions of what computes."""
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    versions = (f"{name} {version(name)}" for name in ("torch", "torchaudio", "transformers", "numpy"))
    cores = f"{os.cpu_count()} cores of {processor()}{device}"
    return f"{cores}, Python {platform.python_version()}, {', '.join(versions)}"


def write_section(title: str, lines: Sequence[str], rows: str = "") -> None:
    """Replace what was measured in a section of BENCHMARKS.md, or add the section at the end.

    Args:
        title: Heading of the section. What was written by hand below its last marker stays.
        lines: What was measured.
        rows: Name of the benchmark, for the command that measures it. Empty: `lines` names the command.
    """
    command = [f"`make benchmarks ROWS={rows}`.", ""] if rows else []
    BENCHMARKS.write_text(with_section(BENCHMARKS.read_text(), title, [*command, *lines]))
    print("\n".join(lines), flush=True)


def with_section(text: str, title: str, lines: Sequence[str]) -> str:
    """Return the text of BENCHMARKS.md with these lines between the markers of a section."""
    measured = "\n".join([_BEGIN, f"On {machine()}.", "", *lines, "", _END])
    heading = f"## {title}\n"
    if f"\n{heading}" not in f"\n{text}":
        return f"{text.rstrip()}\n\n{heading}\n{measured}\n"
    before, after = f"\n{text}".split(f"\n{heading}", 1)
    section, *others = re.split(r"(?=^## )", after, maxsplit=1, flags=re.MULTILINE)
    if _BEGIN in section:
        start, stop = section.index(_BEGIN), section.index(_END) + len(_END)
        section = section[:start] + measured + section[stop:]
    else:
        section = f"\n{measured}\n{section}"
    return f"{before}\n{heading}{section}{''.join(others)}".removeprefix("\n").rstrip() + "\n"
