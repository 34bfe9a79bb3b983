"""Weights of clips."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.data.sampling.weights import cap, collapse_duplicates, effective_number, label_weights, temper
from tests.conftest import GOLDEN


def test_label_weights_equal_the_official_ones() -> None:
    stored = np.load(GOLDEN / "ssondo" / "sampler.npz")
    indptr, indices = stored["label_indptr"], stored["label_indices"]
    labels = [indices[a:b].tolist() for a, b in pairwise(indptr)]
    np.testing.assert_allclose(label_weights(labels), stored["label_weights_sum"], rtol=1e-5)


def test_temper_goes_from_uniform_to_as_it_is() -> None:
    weights = np.array([0.1, 0.2, 0.7, 0.0])
    assert temper(weights, 1.0).tolist() == pytest.approx(weights.tolist())
    assert temper(weights, 0.0).tolist() == pytest.approx([1 / 3] * 3 + [0])
    assert 1 < effective_number(weights) < effective_number(temper(weights, 0.5)) < 3


def test_a_cap_is_kept_and_the_rest_is_shared() -> None:
    capped = cap(np.array([0.6, 0.3, 0.05, 0.05]), 0.35)
    assert capped.max() <= 0.35 + 1e-9
    assert capped.sum() == pytest.approx(1)
    assert capped[2] == pytest.approx(capped[3])
    assert capped.tolist()[:2] == pytest.approx([0.35, 0.35])
    with pytest.raises(UserError, match="max_repeats"):
        cap(np.ones(4), 0.2)


@pytest.mark.parametrize("similarity", [0.999, 1.0])
def test_exact_copies_and_silence_are_duplicates_at_any_similarity(similarity: float) -> None:
    points = np.random.default_rng(0).standard_normal((50, 256)).astype(np.float32)
    points[7] = 0
    shares = collapse_duplicates(np.r_[points, points, points[7:8]], similarity)
    assert shares[[7, 57, 100]].tolist() == pytest.approx([1 / 3] * 3)
    assert np.delete(shares, [7, 57, 100]).tolist() == pytest.approx([1 / 2] * 98)


def test_duplicates_of_many_clips_are_counted_a_part_at_a_time() -> None:
    points = np.random.default_rng(0).standard_normal((6_500, 4)).astype(np.float32)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.allclose(1 / collapse_duplicates(points, 0.9)[:200], (unit[:200] @ unit.T >= 0.9).sum(1), atol=1)


def test_duplicates_share_the_draws_of_one() -> None:
    random = np.random.default_rng(0)
    points = random.standard_normal((5, 32)).astype(np.float32)
    points = np.r_[points, points[:1] * 2, points[:1] * 1.001].astype(np.float32)
    assert collapse_duplicates(points, 0.999).tolist() == pytest.approx([1 / 3, 1, 1, 1, 1, 1 / 3, 1 / 3])
