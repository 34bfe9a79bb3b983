"""Work for the processes of tests of the launcher. It is a module, as the processes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from distill.data.errors import UserError
from distill.run.resuming import Stopped


def work(kind: str, folder: Path) -> None:
    """Do what a test asks for, in one of two processes."""
    rank = int(os.environ["RANK"])
    (folder / f"{kind}{rank}").write_text(" ".join(os.environ[name] for name in ("WORLD_SIZE", "LOCAL_RANK")))
    if kind == "stopped":
        error = Stopped("stopped at batch 3", signal.SIGTERM)
        error.is_silent = rank > 0
        raise error
    if kind == "wrong" and rank == 1:
        raise UserError("rank 1: no such file")
    if kind == "crash" and rank == 1:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the traceback is not part of the test's output
        raise ZeroDivisionError("division by zero")
    if kind == "killed" and rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind != "good":
        time.sleep(600)  # until the launcher ends this process


class NotImportable:
    """A class that its processes cannot find."""


NotImportable.__module__ = "distill.nowhere"
