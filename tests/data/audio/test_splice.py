from __future__ import annotations

import os

import pytest

from distill.data.audio.splice import AS_IT_IS, KnownViews, Splice, View
from distill.data.errors import AudioError

CONTENT = bytes(range(100))
PIECES = [range(10), b"new", b"", range(20, 20), range(50, 60), b"end"]
EXPECTED = CONTENT[:10] + b"new" + CONTENT[50:60] + b"end"


def read_at(offset: int, size: int) -> bytes:
    return CONTENT[offset : offset + size]


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_pieces_are_read_as_one_file(size: int) -> None:
    splice = Splice(read_at, PIECES)
    assert b"".join(iter(lambda: splice.read(size), b"")) == EXPECTED


@pytest.mark.parametrize("place", range(len(EXPECTED) + 3))
def test_any_place_can_be_sought(place: int) -> None:
    splice = Splice(read_at, PIECES)
    assert splice.seek(place) == splice.tell() == place
    assert splice.read(5) == EXPECTED[place : place + 5]
    splice.seek(3)
    assert splice.seek(2, os.SEEK_CUR) == 5
    assert splice.seek(-2, os.SEEK_END) == len(EXPECTED) - 2
    assert splice.seek(-99, os.SEEK_CUR) == 0
    assert splice.readable()
    assert splice.seekable()


def test_no_pieces_are_an_empty_file() -> None:
    assert Splice(read_at, []).read() == b""


@pytest.mark.parametrize("error", [OSError(5, "input/output error"), AudioError("unreadable", "lost")])
def test_a_failed_read_is_the_end(error: Exception) -> None:
    def fail(offset: int, size: int) -> bytes:
        raise error

    assert Splice(fail, [b"start", range(9)]).read() == b"start"


def test_a_file_that_became_shorter_ends_early() -> None:
    assert Splice(read_at, [range(90, 200)]).read() == CONTENT[90:]


def test_a_view_is_made_once_for_a_file() -> None:
    known, made = KnownViews(), []

    def make() -> View:
        made.append(1)
        return AS_IT_IS

    for identity in (1, 1, 2, None, None):
        assert known.get(identity, make) is AS_IT_IS
    assert len(made) == 4


def test_the_oldest_views_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.data.audio.splice._MAX_KNOWN", 2)
    known, made = KnownViews(), []
    for identity in (1, 2, 3, 3, 1):
        known.get(identity, lambda: made.append(1) or AS_IT_IS)
    assert len(made) == 4
