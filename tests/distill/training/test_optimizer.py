"""Schedules of the learning rate."""

from __future__ import annotations

import numpy as np
import pytest

from distill.training.optimizer import Optimizer
from tests.conftest import GOLDEN


def test_efficientats_schedule_equals_the_official_one_at_each_of_its_200_epochs() -> None:
    optimizer = Optimizer(schedule="efficientat", warmup=0.04, floor=0.01)
    official = np.load(GOLDEN / "ssondo" / "lr_schedule.npz")["factor_default_8_95_80_0.01"][:200]
    np.testing.assert_allclose([optimizer.factor(epoch, 200) for epoch in range(200)], official, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "efficientat"])
def test_every_schedule_rises_to_one_and_never_rises_again(schedule: str) -> None:
    optimizer = Optimizer(schedule=schedule, warmup=0.1, floor=0.05)
    factors = np.array([optimizer.factor(step, 1000) for step in range(1001)])
    assert factors.max() == pytest.approx(1.0, abs=1e-2)
    assert (np.diff(factors[:100]) >= 0).all()
    assert (np.diff(factors[101:]) <= 0).all()
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 0.05)
    assert all(0 < factor <= 1 for factor in factors)
