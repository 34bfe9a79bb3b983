"""Signals that end long work after its current batch, so that nothing done is lost."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any, Self


class StopSignals:
    """SIGTERM and SIGINT (Ctrl-C), which are noted until the work can stop. A context manager.

    The second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread no signal is noted.

    Args:
        task: What is done before the end, for the message: "saving a checkpoint".
        prints: Whether a signal is answered by the message. Of several processes, one prints it.

    Attributes:
        stopped_by: Number of the signal that came; None otherwise.
    """

    def __init__(self, task: str, prints: bool = True) -> None:
        self.task, self.prints = task, prints
        self.stopped_by: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Note the signals from here on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous_handlers[number] = signal.signal(number, self._note)
            except ValueError:  # only the main thread can set a handler
                break
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous handlers."""
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        self._previous_handlers.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.stopped_by == signal.SIGINT == number:
            raise KeyboardInterrupt  # the second Ctrl-C
        self.stopped_by = number
        if self.prints:
            os.write(2, f"\nstopping after this batch and {self.task} ...\n".encode())
