"""Rows of a shard in memory: each is missing, embedded or set aside."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.errors import StoreError
from distill.data.store.format import ClipFrames, RowFormat, SetAside
from distill.data.store.shard import ASIDE, EMBEDDED, MISSING, Shard
from distill.data.store.stamps import STAMP

IDS = ["a", "b", "c", "d"]
STAMPS = np.array([(10, 1, 1, 1), (20, 2, 2, 2)], STAMP)


def shard(dtype: str = "<f4", frame_dim: int = 0) -> Shard:
    return Shard(3, IDS, RowFormat(2, frame_dim, np.dtype(dtype)))


def test_rows_are_added_in_any_order_and_kept_in_that_of_the_plan() -> None:
    rows = shard()
    assert rows.missing == IDS
    rows.add(["c", "a"], np.array([[1, 2], [3, 4]], np.float32), stamps=STAMPS)
    rows.put_aside(SetAside("b", "malformed", "no header"), STAMPS[0])
    assert rows.states.tolist() == [EMBEDDED, ASIDE, EMBEDDED, MISSING]
    assert rows.missing == ["d"]
    block = rows.block()
    assert block.ids == ("a", "b", "c")
    assert block.vectors.tolist() == [[3, 4], [1, 2]]
    assert block.stamps["size"].tolist() == [20, 10, 10]
    assert block.set_aside == rows.set_aside == [SetAside("b", "malformed", "no header")]


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [
        (np.nan, "<f4", "teacher_non_finite"),
        (-np.inf, "<f2", "teacher_non_finite"),
        (1e5, "<f2", "teacher_out_of_range"),
        (-2e6, "<f4", "teacher_out_of_range"),
        (1e5, "<f4", None),
    ],
)
@pytest.mark.parametrize("in_frames", [False, True])
def test_values_that_cannot_be_stored_are_set_aside(
    value: float, dtype: str, reason: str | None, in_frames: bool
) -> None:
    rows = shard(dtype, frame_dim=3)
    vectors, frames = np.ones((2, 2), np.float32), {name: np.ones((2, 3), np.float32) for name in "ab"}
    (frames["a"] if in_frames else vectors)[0, 1] = value
    times = np.array([0.1, 0.2], np.float32)
    rows.add(["a", "b"], vectors, {name: ClipFrames(values, times) for name, values in frames.items()}, STAMPS)
    assert [clip.reason for clip in rows.set_aside] == ([] if reason is None else [reason])
    assert rows.states[1] == EMBEDDED
    assert rows.stamps["size"].tolist() == [10, 20, 0, 0]


def test_a_row_changes_its_state() -> None:
    rows = shard()
    rows.add(["a", "b"], np.ones((2, 2), np.float32))
    rows.put_aside(SetAside("a", "malformed", ""))
    rows.add(["a"], np.full((1, 2), 2, np.float32))
    assert not rows.set_aside
    rows.forget([0])
    rows.remove([1, 3])
    assert rows.missing == ["a", "c"]
    assert [(clip.id, clip.reason) for clip in rows.set_aside] == [("b", "removed"), ("d", "removed")]


def test_added_rows_are_returned_once_and_stored_ones_are_put_back() -> None:
    rows = shard("<f2")
    rows.add(["b"], np.full((1, 2), 0.1, np.float32), stamps=STAMPS[:1])
    first = rows.added()
    rows.put_aside(SetAside("d", "malformed", ""), STAMPS[1])
    second = rows.added()
    assert (first.ids, second.ids, rows.added().ids) == (("b",), ("d",), ())
    again = shard("<f2")
    for block in (first, second):
        again.put(block)
    assert again.added().ids == ()
    assert again.states.tolist() == rows.states.tolist()
    assert again.stamps.tolist() == rows.stamps.tolist()
    assert np.array_equal(again.block().vectors, rows.block().vectors)
    other = Shard(0, ["x", "d"], rows.row_format)
    other.put(first)
    other.put(second)
    assert other.missing == ["x"]


def test_a_vector_of_another_size_is_refused() -> None:
    with pytest.raises(StoreError, match=r"shard 3: embeddings of 1 clips have shape \(1, 3\)"):
        shard().add(["a"], np.ones((1, 3), np.float32))
