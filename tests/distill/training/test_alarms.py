"""Signs that a student does not learn."""

from __future__ import annotations

import pytest

from distill.training.alarms import alarms_of

HEALTHY = {"mean_cosine": 0.7, "effective_rank": 20.0, "explained": 0.4}


@pytest.mark.parametrize(
    ("changes", "agreements", "kinds"),
    [
        ({}, [0.1, 0.4], set()),
        ({"mean_cosine": 0.96}, [0.4], {"constant"}),
        ({"effective_rank": 1.5}, [0.4], {"rank"}),
        ({}, [0.4, 0.3], {"fall"}),
        ({}, [0.4, 0.36], set()),
        ({"explained": -0.01}, [-0.01], {"mean"}),
        (
            {"mean_cosine": 0.99, "effective_rank": 1.0, "explained": 0.0},
            [0.2, 0.0],
            {"constant", "rank", "fall", "mean"},
        ),
    ],
)
def test_each_sign_has_its_alarm(changes: dict[str, float], agreements: list[float], kinds: set[str]) -> None:
    assert alarms_of(HEALTHY | changes, agreements, done=0.6).keys() == kinds


def test_a_student_at_its_initial_weights_has_no_alarm() -> None:
    assert not alarms_of({"mean_cosine": 1.0, "effective_rank": 1.0, "explained": -1.0}, [0.3, -1.0], done=0.05)
    assert not alarms_of({"explained": -1.0}, [-1.0], done=0.3)


def test_an_objective_without_measurements_has_no_alarm() -> None:
    assert not alarms_of({}, [], done=1.0)
