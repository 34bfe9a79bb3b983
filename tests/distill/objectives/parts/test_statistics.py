"""Statistics of a teacher's embeddings."""

from __future__ import annotations

import pytest
import torch

from distill.objectives.parts.statistics import PhiStandardise, Standardise, Whiten


def test_statistics_are_those_of_all_that_was_seen() -> None:
    vectors = torch.randn(90, 5) * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]) + torch.arange(5.0)
    standardise = Standardise(5)
    for part in vectors.split(40):
        standardise(part)
    standardise.eval()
    expected = (vectors - vectors.mean(0)) / vectors.std(0, correction=0)
    torch.testing.assert_close(standardise(vectors)[:, :4], expected[:, :4], atol=1e-5, rtol=1e-5)
    assert standardise(vectors)[:, 4].abs().max() < 1e-3  # a column that never changes stays silent
    fitted = Standardise(5)
    fitted.fit(vectors)
    fitted(torch.randn(9, 5) * 100)  # in training, and fixed all the same
    torch.testing.assert_close(fitted(vectors), standardise(vectors))


def test_statistics_are_saved() -> None:
    standardise, again = Standardise(3), Standardise(3)
    standardise.fit(torch.randn(50, 3) * 5)
    again.load_state_dict(standardise.state_dict())
    vectors = torch.randn(4, 3)
    assert again(vectors).equal(standardise(vectors))


def test_whitened_targets_have_covariance_one() -> None:
    vectors = torch.randn(500, 4) @ torch.randn(4, 6) * 3 + 1  # of rank 4 in 6 columns
    whiten = Whiten(6)
    whiten.fit(vectors)
    white = whiten(vectors)
    variances = torch.linalg.eigvalsh(white.T @ white / 500)
    assert variances[2:].tolist() == pytest.approx([1] * 4, abs=0.05)
    assert variances[:2].max() < 0.01  # directions without variance stay silent


def test_a_device_without_double_precision_has_single_precision() -> None:
    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("the device has no float64")
        return tensor.clone()

    vectors = torch.randn(60, 3) * 5 + 2
    moved, expected = Standardise(3), Standardise(3)
    moved._apply(move)
    assert moved.mean.dtype == moved.squares.dtype == torch.float32
    for part in vectors.split(20):
        torch.testing.assert_close(moved(part), expected(part))
    again = Standardise(3)
    again.load_state_dict(moved.state_dict())
    assert again.mean.dtype == torch.float64


@pytest.mark.parametrize("dim", [1, 7, 8, 12, 30])
def test_phi_s_gives_equal_variances_by_a_rotation_and_one_scale(dim: int) -> None:
    vectors = torch.randn(400, 2) @ torch.randn(2, dim) * 3 + torch.randn(400, dim) * torch.rand(dim) + 1
    phi = PhiStandardise(dim)
    phi.fit(vectors)
    mapped = phi(vectors)
    torch.testing.assert_close(mapped.mean(0), torch.zeros(dim), atol=1e-4, rtol=0)
    torch.testing.assert_close(mapped.var(0, correction=0), torch.ones(dim), atol=1e-3, rtol=0)
    before, after = torch.pdist(vectors), torch.pdist(mapped)
    scale = vectors.var(0, correction=0).mean().rsqrt()
    torch.testing.assert_close(after, before * scale, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("dim", "largest"), [(8, 1 / 8), (30, 0.25)])
def test_phi_s_spreads_each_principal_direction_over_all_columns(dim: int, largest: float) -> None:
    variances = torch.linspace(0.01, 4, dim, dtype=torch.float64)
    rotation = PhiStandardise(dim).map_principal(variances) * variances.mean().sqrt()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(dim, dtype=torch.float64))
    assert rotation.square().max() <= largest + 1e-9


def test_phi_s_of_equal_vectors_is_zero() -> None:
    phi = PhiStandardise(5)
    phi.fit(torch.ones(9, 5))
    assert phi(torch.ones(9, 5)).abs().max() < 1e-3
