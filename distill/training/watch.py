"""The watch over the processes of a run: each gives signs of life and tells its error; a lost one ends the run."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple, Protocol

from distill.data.errors import UserError, first_line

INTERVAL = 5.0  # seconds between two signs of life
SILENCE = 45.0  # seconds without a sign of life, after which a process is lost
_BRIEF_SILENCE = 11.0  # the same, once a connection has broken
_SECONDS_TO_END = 15.0  # for a process that has heard the error of another
_ERROR, _ENDED = "error", "ended"


class Store(Protocol):
    """The methods of torch's TCPStore that are used here. All raise RuntimeError if the store does not answer."""

    def set(self, key: str, value: str) -> None:
        """Write a value."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Return values. Wait for those that do not exist."""

    def check(self, keys: list[str]) -> bool:
        """Return whether all keys exist."""

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        """Write a value if the present one is `expected`, where "" is none. Return the value afterwards."""

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        """Wait for keys. Raises RuntimeError after the timeout."""


class Lost(UserError):
    """The error of a process that has lost another process of its run."""


class Told(NamedTuple):
    """The first error of a run, which ends it.

    Args:
        rank: Process that told it.
        message: Message in one line.
        exit_code: Exit code of the process.
    """

    rank: int
    message: str
    exit_code: int


class Watch:
    """The signs of life of a run's processes and the first error, in a store.

    Args:
        store: Store with the key `life_key(rank)` of each process. It must be a connection of its own: another thread
            that waits for a key would block it.
        rank: Number of this process.
        names: Name of each process, for messages.
        is_server: Whether the store ends with this process.
        clock: Function that returns seconds.
        sleep: Function that waits for seconds.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        names: Sequence[str],
        is_server: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store, self.rank, self.names, self.is_server = store, rank, names, is_server
        self.clock, self.sleep = clock, sleep
        self._beats = 0
        self._signs = [(b"", clock())] * len(names)  # the last sign of each process, and when it changed
        self._answered = clock()  # when the store last answered
        self._heard: tuple[Told, float] | None = None  # the first error, and when this process heard it
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="distill-watch", daemon=True)

    def start(self) -> None:
        """Start the thread that gives signs of life."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread. The other processes do not expect signs of this one any more."""
        self._stopped.set()
        self._thread.join()
        self._set(life_key(self.rank), _ENDED)

    def beat(self) -> None:
        """Give a sign of life, and read those of the others and the first error."""
        with self._lock:
            self._beats += 1
            try:
                self.store.set(life_key(self.rank), str(self._beats))
                signs = self.store.multi_get([life_key(rank) for rank in range(len(self.names))])
                if self._heard is None and self.store.check([_ERROR]):
                    told = _parse(self.store.multi_get([_ERROR])[0])
                    self._heard = told, self.clock()
                    self.store.set(_heard_key(self.rank), "")
            except RuntimeError:
                return  # `lost` sees how long the store has not answered
            self._answered = now = self.clock()
            self._signs = [
                (sign, now) if sign != old else (old, since)
                for sign, (old, since) in zip(signs, self._signs, strict=True)
            ]

    def lost(self, silence: float = SILENCE) -> str | None:
        """Return a message about the first process that has been silent for some seconds; None if all live."""
        now = self.clock()
        if now - self._answered > silence:
            place = f"{self.names[0]} or its launcher"
            return f"{place} was lost: its store has not answered for {now - self._answered:.0f} s"
        for rank, (sign, since) in enumerate(self._signs):
            if rank != self.rank and sign != _ENDED.encode() and now - since > silence:
                return f"{self.names[rank]} was lost: no sign of life for {now - since:.0f} s"
        return None

    def tell(self, message: str, exit_code: int) -> bool:
        """Tell an error that ends the run. Return whether it is the first one, which this process must print."""
        told = Told(self.rank, message, exit_code)
        try:
            with self._lock:
                first = _parse(self.store.compare_set(_ERROR, "", json.dumps(told)))
                if self.is_server:  # the others must have heard it before the store ends
                    others = [_heard_key(rank) for rank in range(len(self.names)) if rank != self.rank]
                    self._wait(others)
        except RuntimeError:
            return True
        return first.rank == self.rank

    def hear(self) -> None:
        """Wait for the error that another process is about to tell."""
        with self._lock:
            self._wait([_ERROR])
            self._set(_heard_key(self.rank), "")

    def told(self) -> Told | None:
        """Return the first error of the run, as far as this process has heard it."""
        return self._heard[0] if self._heard else None

    def find(self) -> Told:
        """Return why a connection has broken: the error of another process, or a lost process."""
        began = self.clock()
        while self.clock() - began < 2 * _BRIEF_SILENCE:
            self.beat()
            if told := self.told():
                return told
            if message := self.lost(_BRIEF_SILENCE):
                return Told(self.rank, message, Lost.exit_code)
            self.sleep(1.0)
        return Told(self.rank, "the connection between the processes of the run has broken", Lost.exit_code)

    def end_if_needed(self, end: Callable[[int], None]) -> None:
        """End the process if another one was lost, or has told an error a while ago.

        Args:
            end: Function that ends the process at once, with an exit code.
        """
        if self._heard and self.clock() - self._heard[1] > _SECONDS_TO_END:
            end(self._heard[0].exit_code)
        elif message := self.lost():
            if self.tell(message, Lost.exit_code):
                print(f"distill: error: {message}", file=sys.stderr, flush=True)
            end(Lost.exit_code)

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self.beat()
            self.end_if_needed(os._exit)

    def _set(self, key: str, value: str) -> None:
        """Write a value, if the store still answers."""
        with suppress(RuntimeError):
            self.store.set(key, value)

    def _wait(self, keys: list[str]) -> None:
        """Wait for keys, for as long as the others need at most."""
        with suppress(RuntimeError):
            self.store.wait(keys, timedelta(seconds=INTERVAL + 1))


def life_key(rank: int) -> str:
    """Return the key of a process's signs of life."""
    return f"life/{rank}"


def _heard_key(rank: int) -> str:
    return f"heard/{rank}"


def _parse(value: bytes) -> Told:
    rank, message, exit_code = json.loads(value)
    return Told(rank, message, exit_code)


def line_of(error: BaseException) -> str:
    """Return the message of an error in one line, with its class if it is not a mistake of the user."""
    line = " ".join(str(error).split())
    return line if isinstance(error, UserError | OSError) and line else f"{type(error).__name__}: {first_line(error)}"
