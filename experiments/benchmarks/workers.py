"""Processes that measure on request, so that sides with different settings of memory take turns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from measure import ROOT

DEFAULT_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.check=0"}  # changes nothing, but `distill` leaves glibc alone then


class Worker:
    """A process that measures each time it is asked. It must call `serve`.

    Args:
        words: Words after the interpreter on the command line.
        environment: Variables beside those of this process.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str] | None = None) -> None:
        environment = {**os.environ, **(environment or {})}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, *words], stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment
        )

    def measure(self) -> float:
        """Return what the process measures now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its input, so that it ends


def serve(measure: Callable[[], float]) -> None:
    """Print a measurement for each line of the input."""
    for _ in sys.stdin:
        print(measure(), flush=True)
