"""The end of a run whose held-out loss does not fall any more."""

from __future__ import annotations

import pytest

from distill.training.early_stopping import has_ended


def losses(*values: float, every: int = 50) -> list[tuple[int, float]]:
    """Return held-out losses at regular steps."""
    return [(every * (index + 1), value) for index, value in enumerate(values)]


@pytest.mark.parametrize(
    ("measured", "ended"),
    [
        ([], False),
        (losses(*[1.0] + [2.0] * 8), False),  # the first half of 1,000 steps
        (losses(*[1.0] + [2.0] * 9), True),
        (losses(*[1.0] * 8, 0.5, *[0.6] * 4), False),  # 200 steps after the best
        (losses(*[1.0] * 8, 0.5, *[0.6] * 5), True),
        (losses(*[1.0] * 8, 0.5, *[0.6] * 5, 0.4), False),
        (losses(1.0, 2.0, 2.0, every=300), False),  # few validations
    ],
)
def test_a_run_ends_after_a_quarter_of_its_steps_without_a_lower_loss(
    measured: list[tuple[int, float]], ended: bool
) -> None:
    assert has_ended(measured, 1000) is ended
