"""Resuming a run: the options that may change, and the checkpoint to continue from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.data.errors import UserError
from distill.run.folder import Run, with_full_paths

# These change duration, hardware and place of a run. All others change the trained student.
_MAY_CHANGE = {"epochs", "max_steps", "budget", "keep_steps", "engine", "out"}


class Stopped(UserError):
    """The error of a run that a signal ended after a checkpoint.

    Args:
        message: Message with the command that continues the run.
        signal_number: Number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number, self.exit_code = signal_number, 128 + signal_number

    def __reduce__(self) -> tuple[type[Stopped], tuple[str, int]]:
        return type(self), (str(self), self.signal_number)  # by default, pickling loses the signal


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UserError if an option was changed that must stay the same in a resumed run.

    Args:
        before: Configuration in the run folder.
        now: Configuration of this call, with all options completed.
    """
    before, now = with_full_paths(before), with_full_paths(now)
    changed = sorted(name for name in now if not _agrees(before.get(name), now[name]))
    if forbidden := [name for name in changed if name not in _MAY_CHANGE]:
        differences = "; ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in forbidden)
        raise UserError(f"--resume continues the same run, but {differences}. For a new run choose another --out")


def newest_checkpoint(run: Run) -> Path | None:
    """Return the newest intact checkpoint, or None, and print its path and those of damaged ones."""
    checkpoint, damaged = run.newest_checkpoint()
    for path in damaged:
        print(f"{path} is damaged and not used")
    print(f"continuing from {checkpoint}" if checkpoint else "no checkpoint yet: starting again")
    return checkpoint


def _agrees(before: Any, now: Any) -> bool:
    """Return whether two values are equal. A mapping may have options now that an earlier version did not have."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() <= now.keys() and all(_agrees(before[key], now[key]) for key in before)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_agrees, before, now))
    return bool(before == now)
