"""`distill` in a process of its own, as a user types it, with its CPU seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_LAST_LINES = 12


class Failed(Exception):
    """A command of `distill` that ended with an error; the message has its last lines."""


class Ended(NamedTuple):
    """A command that ended.

    Args:
        cpu_seconds: User and system seconds of the process and of its loader processes.
        last_lines: Last lines of its output.
    """

    cpu_seconds: float
    last_lines: list[str]


def distill(words: Sequence[str], log: Path) -> Ended:
    """Run a command of `distill` and write its output to a file.

    Args:
        words: Command and options, without "distill".
        log: File of the output; it is overwritten.

    Raises:
        Failed: the command ended with an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with open(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "distill", *words], stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": python_path},
        )  # fmt: skip
        try:
            # The usage of all children together would include commands that run at the same time.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line.strip() for line in re.split(r"[\r\n]+", log.read_text(errors="replace")) if line.strip()]
    if process.returncode:
        raise Failed(f"distill {' '.join(words)}\n  ended with {process.returncode}: " + "\n  ".join(lines[-3:]))
    return Ended(usage.ru_utime + usage.ru_stime, lines[-_LAST_LINES:])
