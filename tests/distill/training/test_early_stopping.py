"""The end of a run whose held-out loss does not fall any more."""

from __future__ import annotations

import pytest

from distill.training.early_stopping import has_ended


@pytest.mark.parametrize(
    ("losses", "ended"),
    [
        ([], False),
        ([(100, 1.0), (400, 2.0)], False),  # the first half
        ([(100, 1.0), (400, 0.5), (500, 0.6), (640, 0.7)], False),  # 240 steps after the best
        ([(100, 1.0), (400, 0.5), (500, 0.6), (650, 0.7)], True),
        ([(100, 1.0), (400, 0.5), (650, 0.4)], False),
        ([(100, 0.1), (500, 0.6)], True),
    ],
)
def test_a_run_ends_after_a_quarter_of_its_steps_without_a_lower_loss(
    losses: list[tuple[int, float]], ended: bool
) -> None:
    assert has_ended(losses, 1000) is ended
