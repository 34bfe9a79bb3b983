"""Positions on a plane, and the groups that colour them."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from distill.evaluation.plane import Grouping, plane_of


def blobs(count: int = 20, kinds: int = 3, dim: int = 8) -> np.ndarray:
    random = np.random.default_rng(0)
    return (
        np.repeat(10 * random.standard_normal((kinds, dim)), count, 0) + random.standard_normal((kinds * count, dim))
    ).astype(np.float32)


def share_of_own_kind(positions: np.ndarray, count: int) -> float:
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float((distances.argmin(1) // count == np.arange(len(positions)) // count).mean())


@pytest.mark.parametrize("has_sklearn", [True, False])
def test_similar_vectors_are_neighbours(has_sklearn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_sklearn:
        forbid(monkeypatch, "sklearn")
    plane = plane_of(blobs())
    assert (plane.method, plane.has_tsne) == (("t-SNE", True) if has_sklearn else ("PCA", False))
    assert plane.positions.shape == (60, 2)
    assert share_of_own_kind(plane.positions, 20) == 1
    assert np.array_equal(plane.positions, plane_of(blobs()).positions)


def forbid(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    import_module = builtins.__import__

    def refusing(name: str, *arguments: object, **named: object) -> object:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return import_module(name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refusing)


def test_pca_equals_the_projection_on_the_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, "sklearn")
    points = blobs().astype(np.float64)
    scaled = (points - points.mean(0)) / points.std(0)
    _, vectors = np.linalg.eigh(scaled.T @ scaled)
    expected = scaled @ vectors[:, :-3:-1]
    np.testing.assert_allclose(np.abs(plane_of(points.astype(np.float32)).positions), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 4), (4, 1), (6, 1), (30, 3)])
def test_few_points_and_equal_points_have_positions(shape: tuple[int, int]) -> None:
    for vectors in (np.random.default_rng(0).standard_normal(shape), np.ones(shape)):
        positions = plane_of(vectors.astype(np.float32)).positions
        assert positions.shape == (shape[0], 2)
        assert np.isfinite(positions).all()


def test_the_largest_groups_have_names_and_others_share_one() -> None:
    grouping = Grouping.of(["b", "a", "b", ""])
    assert grouping.names == ("b", "a", "none")
    assert grouping.codes.tolist() == [0, 1, 0, 2]
    many = Grouping.of([*map(str, range(30)), "29", ""])
    assert len(many.names) == 22
    assert many.names[0] == "29"
    assert many.names[-2:] == ("others", "none")
    assert np.bincount(many.codes)[20] == 10
