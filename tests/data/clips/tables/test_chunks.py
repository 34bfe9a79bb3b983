"""Chunks of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.tables import chunks
from distill.data.clips.tables.chunks import TableFile, chunks_of
from distill.data.errors import UserError


def test_chunks_end_after_a_number_of_rows_or_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 3)
    monkeypatch.setattr(chunks, "CHUNK_CHARACTERS", 10)
    rows = [(1, ["a", 1]), (2, "broken"), (4, ["b", 2]), (5, ["c" * 11, 3]), (6, ["d", None])]
    found = list(chunks_of(iter(rows), ["name", "number"]))
    assert [list(chunk.lines) for chunk in found] == [[1, 4], [5], [6]]
    assert [dict(chunk.broken) for chunk in found] == [{2: "broken"}, {}, {}]
    assert [list(chunk.columns["name"]) for chunk in found] == [["a", "b"], ["c" * 11], ["d"]]
    (only,) = chunks_of(iter([(1, "broken")]), ["name"])
    assert list(only.columns["name"]) == []


def test_too_many_columns_are_refused() -> None:
    with pytest.raises(UserError, match=r"t.csv: has 10,001 columns"):
        TableFile(Path("t.csv"), tuple(map(str, range(10_001))), lambda columns: iter(()))
