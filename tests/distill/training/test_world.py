"""What the processes of a run do together, on threads."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distill.data.errors import UserError
from distill.training.world import World, _Failure
from tests.distill.training.ranks import on_ranks


def fails(on: set[int], message: str = "no such file") -> Callable[[World], str]:
    def function(world: World) -> str:
        if world.rank in on:
            raise UserError(f"{message}" if "{" not in message else message.format(rank=world.rank))
        return f"value of {world.rank}"

    return function


def test_a_single_process_needs_no_other() -> None:
    world = World()
    assert (world.is_first, world.gather(3), world.broadcast(4), world.first(lambda: 5)) == (True, [3], 4, 5)
    world.barrier()
    world.check_same({"code": 1})
    with pytest.raises(UserError, match="wrong"), world.held(contextlib.nullcontext):
        world.each(lambda: fails({0}, "wrong")(world))


def test_the_first_works_and_all_get_its_value() -> None:
    assert on_ranks(3, lambda world: world.first(lambda: fails(set())(world))) == ["value of 0"] * 3


def test_an_error_of_the_first_is_raised_on_all_and_printed_once() -> None:
    def run(world: World) -> None:
        world.first(lambda: fails({0})(world))

    errors = on_ranks(3, run)
    assert [str(error) for error in errors] == ["no such file"] * 3
    assert [error.is_silent for error in errors] == [False, True, True]  # type: ignore[union-attr]


@pytest.mark.parametrize(("failure", "raised"), [(None, KeyboardInterrupt), ("stopped", UserError)])
def test_a_signal_waits_for_the_first_and_is_not_lost(failure: str | None, raised: type[BaseException]) -> None:
    class Interrupted(World):
        waited = False

        def broadcast(self, value: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            self.waited = True
            return None, failure and _Failure(failure, 130)

    world = Interrupted(1, 2)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in background processes
    try:
        with pytest.raises(raised):
            world.first(lambda: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert world.waited


def test_the_first_computes_and_the_others_read() -> None:
    computed: list[int] = []

    def run(world: World) -> int:
        def compute() -> int:
            computed.append(world.rank)
            return len(computed)

        return world.first_then_each(compute)

    on_ranks(3, run)
    assert computed[0] == 0
    assert sorted(computed) == [0, 1, 2]


@pytest.mark.parametrize(
    ("on", "message", "raised"),
    [
        ({0, 1, 2}, "no such file", "no such file"),
        ({1}, "no such file", "rank 1 on host1: no such file"),
        ({1, 2}, "no such file", "rank 1 on host1: no such file"),
        ({0, 1, 2}, "no file {rank}", "rank 0 on host0: no file 0"),
    ],
)
def test_an_error_of_any_is_raised_on_all_and_names_its_rank(on: set[int], message: str, raised: str) -> None:
    errors = on_ranks(3, lambda world: world.each(lambda: fails(on, message)(world)))
    assert [str(error) for error in errors] == [raised] * 3
    assert [error.is_silent for error in errors] == [False, True, True]  # type: ignore[union-attr]


def test_the_exit_code_of_an_error_reaches_all() -> None:
    def full(world: World) -> None:
        if world.is_first:
            error = UserError("stopped")
            error.exit_code = 143
            raise error

    errors = on_ranks(2, lambda world: world.first(lambda: full(world)))
    assert [error.exit_code for error in errors] == [143, 143]  # type: ignore[union-attr]


def test_only_the_first_holds_a_lock_and_all_see_that_it_cannot() -> None:
    held: list[int] = []

    def run(world: World) -> None:
        @contextlib.contextmanager
        def lock() -> Iterator[None]:
            if held:
                raise UserError("is being written")
            held.append(world.rank)
            yield
            held.append(-1)

        with world.held(lock):
            world.barrier()

    assert on_ranks(2, run) == [None, None]
    assert held == [0, -1]
    assert [str(error) for error in on_ranks(2, run)] == ["is being written"] * 2


def test_processes_of_different_runs_are_told_apart() -> None:
    def run(world: World) -> None:
        world.check_same({"code": "a", "data": "b" if world.rank < 2 else "c"})

    errors = on_ranks(3, run)
    expected = "the processes must be of one run, but: data c on rank 2 on host2, b on rank 0 on host0"
    assert [str(error) for error in errors] == [expected] * 3
