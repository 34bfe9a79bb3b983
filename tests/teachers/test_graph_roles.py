"""The roles of the tensors of a graph."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.teachers.graph import GraphFacts, InputForm
from distill.teachers.graph_roles import Role, measure, role_of


@pytest.mark.parametrize(
    ("short", "long", "rows", "expected", "shape"),
    [
        ((6,), (6,), 1, Role(None, False), (1, 6)),
        ((1, 6), (1, 6), 1, Role(None, True), (1, 6)),
        ((4, 6), (4, 6), 4, Role(None, True), (4, 6)),
        ((1, 1, 6), (1, 1, 6), 1, Role(None, True), (1, 6)),
        ((1, 10, 6), (1, 100, 6), 1, Role(1, True), (1, 100, 6)),
        ((1, 6, 10), (1, 6, 100), 1, Role(2, True), (1, 100, 6)),
        ((1, 30, 6), (1, 30, 6), 1, Role(1, True), (1, 30, 6)),
        ((1, 1, 6), (1, 3, 6), 1, Role(1, True), (1, 3, 6)),
        ((10, 6), (100, 6), 1, Role(0, False), (1, 100, 6)),
        ((1, 6), (3, 6), 1, Role(0, False), (1, 3, 6)),
        ((6, 10), (6, 100), 1, Role(1, False), (1, 100, 6)),
        ((30, 6), (30, 6), 1, Role(0, False), (1, 30, 6)),
        ((), (), 1, None, None),
        ((10,), (100,), 1, None, None),
        ((1, 10), (1, 100), 1, None, None),
        ((1, 10, 20), (1, 100, 200), 1, None, None),
        ((1, 3, 10, 6), (1, 3, 100, 6), 1, None, None),
        ((1, 0, 6), (1, 10, 6), 1, None, None),
        ((40, 6), (40, 6), 4, None, None),
    ],
)  # fmt: skip
def test_the_role_of_a_tensor(
    short: tuple[int, ...], long: tuple[int, ...], rows: int, expected: Role | None, shape: tuple[int, ...] | None
) -> None:
    role = role_of(short, long, rows)
    assert role == expected
    if role is not None:
        assert role.of_rows(np.zeros(long, np.float32)).shape == shape


@pytest.mark.parametrize("together", [False, True])
def test_a_graph_that_mixes_its_clips_gets_them_one_by_one(together: bool) -> None:
    def compute(samples: np.ndarray) -> list[np.ndarray]:
        level = samples.mean() if together else 0.0
        return [samples[:, :8] - level]

    form = InputForm(16_000, "batch,samples", None, None, None, 10.0)
    assert measure(compute, ["clip"], form, GraphFacts(), "here").rows == (1 if together else None)


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.full((1, 4), np.nan, np.float32), "NaN or infinite"),
     (np.ones((1, 9, 4), np.float32), "9 frames for any length")],
)  # fmt: skip
def test_numbers_that_cannot_teach_are_refused(value: np.ndarray, message: str) -> None:
    form = InputForm(16_000, "batch,samples", 1, None, None, 10.0)
    with pytest.raises(UserError, match=f"'x' has {message}.*here"):
        measure(lambda samples: [value], ["x"], form, GraphFacts(), "here")
