"""Logits become probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from distill.students.decisions import MANY, ONE_OF, log_softmax, probabilities_of


def test_one_of_the_classes_has_the_odds_of_the_logits() -> None:
    found = probabilities_of(np.log([[1.0, 3.0], [1e-30, 1.0]]).astype(np.float32), ONE_OF)
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.0, 1.0]], atol=1e-6)


def test_many_classes_are_separate_decisions() -> None:
    found = probabilities_of(np.array([[0.0, np.log(3.0), -1e4, 1e4]]), MANY)
    np.testing.assert_allclose(found, [[0.5, 0.75, 0.0, 1.0]], atol=1e-12)


def test_large_logits_do_not_overflow() -> None:
    assert log_softmax(np.array([[1e4, 0.0]])).tolist() == [[0.0, pytest.approx(-1e4)]]
