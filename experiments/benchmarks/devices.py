"""Throughput of one run on two processes, against two independent runs of one process each at the same time.

It needs two quiet cores. Each process has one thread, and decodes its clips itself.
"""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measure import PAIRS, Row, table, write_section

CLIPS, SECONDS, RATE = 64, 4, 16_000
BATCH, STEPS = 16, 120  # clips of a batch on each process
GOAL = 0.9


def make_sounds(folder: Path) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(CLIPS):
        soundfile.write(folder / f"{number:03d}.wav", 0.1 * random.standard_normal(SECONDS * RATE), RATE)
    return folder


def start(data: Path, run: Path, processes: int) -> subprocess.Popen[bytes]:
    words = ["--teacher=spectral", "--student=cnn", f"--data={data}", f"--out={run}", f"--max_steps={STEPS}"]
    words += [f"--batch_size={BATCH * processes}", "--validation=0", "--engine.workers=0", "--engine.accelerator=cpu"]
    words += [f"--engine.devices={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-m", "distill", "fit", *words], env=environment, stdout=quiet, stderr=quiet
    )


def clips_per_second(run: Path) -> float:
    """Return the median speed of all rows but the first, in which caches are filled."""
    with open(run / "metrics.csv", newline="") as file:
        speeds = [float(row["clips_per_second"]) for row in csv.DictReader(file) if row["clips_per_second"]]
    return statistics.median(speeds[1:])


def measure(folder: Path) -> Row:
    data = make_sounds(folder / "sounds")
    pairs = []
    for number in range(PAIRS):
        runs = [[folder / f"shared{number}"], [folder / f"own{number}{name}" for name in "ab"]]
        speeds = []
        for group in runs:
            commands = [start(data, run, processes=2 // len(group)) for run in group]
            if any(command.wait() for command in commands):
                sys.exit(f"a run of {group} failed")
            speeds.append(sum(map(clips_per_second, group)))
        pairs.append(speeds)
    shared, own = (statistics.median(values) for values in zip(*pairs, strict=True))
    ratio = statistics.median(together / alone for together, alone in pairs)
    case = f"`cnn`, {BATCH} clips of {SECONDS} s a process"
    return Row(case, 1e3 / shared, 1e3 / own, GOAL, "two independent runs", ratio, "ms a clip")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        row = measure(Path(folder))
    write_section("Two processes", table([row]), "devices")
