"""Signs of life and the first error, with a store in memory and a clock that tests set."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distill.training.watch import Told, Watch, life_key

NAMES = ("rank 0", "rank 1 on gpu08", "rank 2")


class MemoryStore:
    """A store that answers as long as nobody takes it down."""

    def __init__(self, ranks: int) -> None:
        self.values = {life_key(rank): b"0" for rank in range(ranks)}
        self.is_up = True

    def set(self, key: str, value: str) -> None:
        self._values()[key] = value.encode()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self._values()[key] for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(key in self._values() for key in keys)

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        return self._values().setdefault(key, desired.encode())

    def wait(self, keys: list[str], timeout: timedelta) -> None:
        if not self.check(keys):
            raise RuntimeError("wait timeout")

    def _values(self) -> dict[str, bytes]:
        if not self.is_up:
            raise RuntimeError("Broken pipe")
        return self.values


class Clock:
    """Seconds that pass when a test says so; each of them gives all living watches a sign of life."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store = MemoryStore(len(NAMES))
        self.watches = [Watch(self.store, rank, NAMES, rank == 0, self.time, self.pass_by) for rank in range(3)]
        self.living = list(self.watches)

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            for watch in self.living:
                watch.beat()


def test_a_run_of_any_length_goes_on_as_long_as_all_live() -> None:
    clock = Clock()
    clock.pass_by(3600)
    assert [watch.lost() for watch in clock.watches] == [None] * 3


def test_a_silent_process_is_lost_within_a_minute_and_one_line_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    clock, codes = Clock(), []
    clock.pass_by(20)
    clock.living.remove(clock.watches[1])
    clock.pass_by(40)
    assert clock.watches[0].lost() is None
    clock.pass_by(10)
    for watch in clock.living:
        watch.end_if_needed(codes.append)
    assert codes == [2, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["distill: error: rank 1 on gpu08 was lost: no sign of life for 49 s"]


def test_a_process_that_has_ended_well_is_not_missed() -> None:
    clock = Clock()
    clock.store.set(life_key(1), "ended")
    clock.living.remove(clock.watches[1])
    clock.pass_by(100)
    assert clock.watches[0].lost() is None


def test_a_store_that_does_not_answer_ends_the_run() -> None:
    clock = Clock()
    clock.pass_by(5)
    clock.store.is_up = False
    clock.pass_by(40)
    assert clock.watches[2].lost() is None
    clock.pass_by(10)
    assert clock.watches[2].lost() == "rank 0 or its launcher was lost: its store has not answered for 50 s"
    assert clock.watches[2].tell("rank 0 was lost", 2)  # with no store, each must print


def test_the_first_error_is_printed_and_the_others_are_not() -> None:
    clock = Clock()
    assert clock.watches[1].tell("rank 1: no space left", 74)
    assert not clock.watches[0].tell("the connection has broken", 2)
    clock.pass_by(1)
    assert clock.watches[2].told() == Told(1, "rank 1: no space left", 74)
    assert clock.watches[2].find() == Told(1, "rank 1: no space left", 74)


def test_a_process_that_is_busy_ends_soon_after_the_error_of_another() -> None:
    clock, codes = Clock(), []
    clock.watches[1].tell("rank 1: no space left", 74)
    clock.pass_by(10)
    clock.watches[2].end_if_needed(codes.append)
    assert not codes
    clock.pass_by(10)
    clock.watches[2].end_if_needed(codes.append)
    assert codes == [74]


def test_a_broken_connection_is_explained_by_the_process_that_has_fallen_silent() -> None:
    clock = Clock()
    clock.pass_by(30)
    clock.living.remove(clock.watches[1])
    told = clock.watches[2].find()
    assert (told.rank, told.exit_code) == (2, 2)
    assert told.message.startswith("rank 1 on gpu08 was lost")
    assert clock.now < 30 + 15


def test_a_broken_connection_between_living_processes_is_not_searched_for_ever() -> None:
    clock = Clock()
    assert "has broken" in clock.watches[2].find().message
    assert clock.now < 30
