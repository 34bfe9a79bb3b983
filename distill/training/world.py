"""The processes of a run. Each has a rank. Rank 0 alone writes files, and its decisions reach the others."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from distill.data.errors import UserError, exit_code_of
from distill.training.stopping import StopSignals

T = TypeVar("T")
E = TypeVar("E", bound=UserError)


class World:
    """The processes of a run, and the place of this one among them. By default it is alone.

    A method waits until all processes have called it. So all must call the methods in the same order.

    Args:
        rank: Number of this process, from 0.
        size: Number of processes.
        local_rank: Number of this process on its machine.
        nodes: Number of machines.
        hosts: Name of the machine of each rank.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, local_rank: int = 0, nodes: int = 1, hosts: Sequence[str] = ()
    ) -> None:
        self.rank, self.size, self.local_rank, self.nodes, self.hosts = rank, size, local_rank, nodes, tuple(hosts)

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            torch.distributed.barrier()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank. They are pickled."""
        if self.size == 1:
            return [value]
        values = [value] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: T) -> T:
        """Return the value of rank 0. It is pickled."""
        if self.size == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over all processes, in place, and return it."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def share(self, tensor: Tensor) -> None:
        """Replace a tensor by that of rank 0, in place."""
        if self.size > 1:
            torch.distributed.broadcast(tensor, src=0)

    def first(self, function: Callable[[], T]) -> T:
        """Run a function on rank 0, and return its value on all processes; it is pickled.

        The other processes wait. If the function raises a UserError or an OSError, all processes raise it.
        """
        if self.size == 1:
            return function()
        if not self.is_first:
            return self._from_first()
        value, error = _outcome(function)
        self.broadcast((value, _Failure.of(error)))
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def _from_first(self) -> Any:
        """Return the value of rank 0, or raise its error. Signals wait, as rank 0 decides how to end."""
        with StopSignals("", prints=False) as signals:
            value, failure = self.broadcast((None, None))
        if failure is not None:
            raise self._shared(failure)
        if signals.stopped_by:
            signal.raise_signal(signals.stopped_by)
        return value

    def first_then_each(self, function: Callable[[], T]) -> T:
        """Run a function on rank 0, then on the others, which find on disk what it has computed. Return its value."""
        values: list[T] = []
        self.first(lambda: values.append(function()))
        return values[0] if values else function()

    def each(self, function: Callable[[], T]) -> T:
        """Run a function on every process, and return its own value.

        If it raises a UserError or an OSError anywhere, all processes raise the first one. The error names its rank,
        unless all processes have the same.
        """
        if self.size == 1:
            return function()
        value, error = _outcome(function)
        failures = self.gather(_Failure.of(error))
        rank, failure = next(((rank, failure) for rank, failure in enumerate(failures) if failure), (0, None))
        if failure is None:
            return value  # type: ignore[return-value]
        prefix = "" if len(set(failures)) == 1 else f"{self.name(rank)}: "
        raise self._shared(failure._replace(message=prefix + failure.message)) from error

    @contextmanager
    def held(self, context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        """Return a context that only rank 0 enters, such as a lock. If this fails, all processes raise the error."""
        with ExitStack() as stack:
            self.first(lambda: stack.enter_context(context()) and None)
            yield

    def check_same(self, values: Mapping[str, object]) -> None:
        """Raise UserError if a value differs between the processes.

        Args:
            values: Values by name. The error names the first that differs.
        """
        everyone = self.gather(dict(values))
        for rank, own in enumerate(everyone):
            for name, value in own.items():
                if value != everyone[0][name]:
                    there, here = f"{name} {value} on {self.name(rank)}", f"{everyone[0][name]} on {self.name(0)}"
                    raise self._shared(_Failure(f"the processes must be of one run, but: {there}, {here}", 2))

    def shared(self, error: E) -> E:
        """Return an error that all processes raise at the same place. Rank 0 prints it."""
        error.is_silent = not self.is_first
        return error

    def _shared(self, failure: _Failure) -> UserError:
        """Return the error of a failure."""
        error = self.shared(UserError(failure.message))
        error.exit_code = failure.exit_code
        return error

    def name(self, rank: int) -> str:
        """Return the name of a process for messages, with its machine if there are several."""
        return f"rank {rank}" + (f" on {self.hosts[rank]}" if len(set(self.hosts)) > 1 else "")


def _outcome(function: Callable[[], T]) -> tuple[T | None, UserError | OSError | None]:
    """Return the value of a function, or the error that other processes must know."""
    try:
        return function(), None
    except (UserError, OSError) as error:
        return None, error


class _Failure(NamedTuple):
    """An error that is sent to other processes."""

    message: str
    exit_code: int

    @staticmethod
    def of(error: UserError | OSError | None) -> _Failure | None:
        """Return the failure of an error; None without one."""
        return None if error is None else _Failure(str(error), exit_code_of(error))
