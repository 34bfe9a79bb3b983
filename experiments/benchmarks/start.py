"""CPU seconds of new processes, up to the first answer of each command."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measure import PAIRS, ROOT, Row, table, write_section

CLIPS = 10
COMMANDS: dict[str, tuple[str, float]] = {  # command: end of the measurement, goal in seconds
    "--help": ("the end", 0.5),
    "list": ("the end", 0.7),
    "fit --help": ("the end", math.nan),
    "embed --teacher spectral": ("the first batch of ten clips", 5),
    "probe --teacher spectral": ("the first batch of ten clips", 5),
    "fit --teacher spectral --student mobilenet_v3 --student.width 0.1": ("the first batch of ten clips", 5),
}
# Print the CPU seconds of the process at the first step of the progress bar with the command's name, or at the end of
# the command. `probe` shows the bar of `embed`. `fit` shows that bar first, so its own bar is the one that counts.
SCRIPT = """
import os, sys

def end():
    times = os.times()
    print("CPU", times.user + times.system, flush=True)
    os._exit(0)

bar = {"embed": "embed", "probe": "embed", "fit": "fit"}.get(sys.argv[1])
if bar and "--help" not in sys.argv:
    import tqdm
    tqdm.tqdm.update = lambda self, n=1: end() if self.desc.startswith(bar) else None
if sys.argv[1:] == ["-"]:
    import torch
else:
    from distill.cli.shell import main
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
end()
"""


def seconds_of(words: list[str]) -> float:
    """Return the CPU seconds, user and system, of one process."""
    ended = subprocess.run([sys.executable, "-c", SCRIPT, *words], check=True, capture_output=True, text=True, cwd=ROOT)
    return float(ended.stdout.rpartition("CPU")[2])


def labelled_clips(folder: Path) -> None:
    random = np.random.default_rng(0)
    for clip in range(CLIPS):
        path = folder / f"class{clip % 2}" / f"{clip}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, random.standard_normal(16_000) * 0.1, 16_000)


def main() -> None:
    taken: dict[str, list[float]] = {"import torch": []}
    with tempfile.TemporaryDirectory() as folder:
        labelled_clips(Path(folder) / "clips")
        for repeat in range(PAIRS + 1):  # in turns; the first round fills the disk cache
            for command in ("import torch", *COMMANDS):
                words = ["-"] if command == "import torch" else command.split()
                if command.startswith(("embed", "probe", "fit")) and "--help" not in words:
                    out = Path(folder) / f"{words[0]}{repeat}"
                    words += ["--data", os.fspath(Path(folder) / "clips"), "--out", os.fspath(out)]
                seconds = seconds_of(words)
                if repeat:
                    taken.setdefault(command, []).append(seconds)
    medians = {command: statistics.median(seconds) for command, seconds in taken.items()}
    yardstick = medians.pop("import torch")
    rows = [
        Row(f"`distill {command}`, until {until}", medians[command], None, goal)
        for command, (until, goal) in COMMANDS.items()
    ]
    note = (
        f"User and system time of new processes, from the shell on; the median of {PAIRS}. There is no rival. "
        f"`import torch` alone took {yardstick:.2f} s in the same run."
    )
    write_section("Start", [*table(rows), "", note], "start")
