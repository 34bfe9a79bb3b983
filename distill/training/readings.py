"""Values of training steps that stay on their device until all of them are read at once."""

from __future__ import annotations

from collections.abc import Callable

from distill.objectives.parts.observed import Observed, Unread, read_all


class Readings:
    """Values that wait on their device, each with a function that gets its number. A number is handed over at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Unread, Callable[[float], None]]] = []

    def add(self, value: Observed, receive: Callable[[float], None]) -> None:
        """Hand a value over to `receive`: a number now, otherwise at the next `read`."""
        if isinstance(value, Unread) and value.known is None:
            self._waiting.append((value, receive))
        else:
            receive(float(value))

    def read(self) -> None:
        """Read all values that wait, by one copy, and hand them over in the order in which they were added."""
        waiting, self._waiting = self._waiting, []
        read_all(value for value, _ in waiting)
        for value, receive in waiting:
            receive(float(value))
