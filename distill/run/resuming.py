"""Going on with a run: what may differ, and where it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.data.errors import UserError
from distill.run.folder import Run

# How long and where a run computes may change; what is learned from what may not.
_MAY_CHANGE = {"epochs", "engine", "out"}


class Stopped(UserError):
    """A signal ended the run; everything is saved.

    Args:
        message: What to do next.
        signal_number: Number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UserError where a run would not be the one that it goes on with.

    Args:
        before: The configuration in the run folder.
        now: The configuration of this call, with every option written out.
    """
    changed = sorted(name for name in now if not _agrees(before.get(name), now[name]))
    if forbidden := [name for name in changed if name not in _MAY_CHANGE]:
        differences = "; ".join(f"{name} was {before.get(name)}, is {now[name]}" for name in forbidden)
        raise UserError(f"--resume goes on with the same run, but {differences}. A new run: --out elsewhere")


def newest_checkpoint(run: Run) -> Path | None:
    """Return the newest whole checkpoint, None if there is none, and print where the run goes on."""
    checkpoint, damaged = run.newest_checkpoint()
    for path in damaged:
        print(f"{path} is damaged and left out")
    print(f"going on from {checkpoint}" if checkpoint else "no checkpoint yet: beginning again")
    return checkpoint


def _agrees(before: Any, now: Any) -> bool:
    """Return whether two values are equal; a mapping of today may have options that an earlier version had not."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() <= now.keys() and all(_agrees(before[key], now[key]) for key in before)
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_agrees, before, now))
    return bool(before == now)
