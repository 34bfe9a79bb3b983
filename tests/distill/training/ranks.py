"""Several ranks in the threads of one process, for tests of what ranks do together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from distill.training.world import World

T = TypeVar("T")


class ThreadWorld(World):
    """A world whose ranks are threads, which exchange values through a list."""

    def __init__(self, rank: int, places: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(rank, len(places), rank, 1, [f"host{rank}" for rank in range(len(places))])
        self.places, self.wait = places, barrier.wait

    def barrier(self) -> None:
        self.wait()

    def gather(self, value: T) -> list[T]:
        self.places[self.rank] = value
        self.wait()
        values = list(self.places)
        self.wait()
        return values

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def sum(self, tensor: Tensor) -> Tensor:
        return tensor.copy_(sum(self.gather(tensor.clone())))  # type: ignore[arg-type]

    def share(self, tensor: Tensor) -> None:
        tensor.copy_(self.gather(tensor.clone())[0])


def on_ranks(size: int, function: Callable[[World], T]) -> list[T | Exception]:
    """Run a function on each rank. Return its values, or the errors that it raised."""
    results: list[Any] = [None] * size
    places: list[Any] = [None] * size
    barrier = threading.Barrier(size, timeout=20)

    def run(rank: int) -> None:
        try:
            results[rank] = function(ThreadWorld(rank, places, barrier))
        except Exception as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
