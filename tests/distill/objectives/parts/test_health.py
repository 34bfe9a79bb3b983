"""Measures of collapse: values for vectors of known spread, and when a run stops."""

from __future__ import annotations

import math

import pytest
import torch

from distill.data.errors import UserError
from distill.objectives.parts.health import EmbeddingHealth, Health, deviation, effective_rank, mean_cosine


def test_deviation_is_the_mean_of_that_of_each_column() -> None:
    vectors = torch.randn(4, 2_500, 3) * torch.tensor([1.0, 2.0, 6.0])
    assert deviation(vectors) == pytest.approx(3.0, rel=0.03)
    assert deviation(torch.randn(1, 3)) == 0


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_is_the_rank_of_even_directions(rank: int) -> None:
    directions = torch.linalg.qr(torch.randn(16, rank)).Q
    rows = torch.cat([directions.T, -directions.T]) * 5 + 100
    assert effective_rank(rows) == pytest.approx(rank, rel=1e-2)
    assert math.isnan(effective_rank(rows / 0))


@pytest.mark.parametrize("dead", ["target", "prediction"])
def test_only_an_old_run_in_training_stops(dead: str) -> None:
    alive, still = torch.randn(8, 4), torch.ones(8, 4)
    health = Health()
    vectors = (still, alive) if dead == "target" else (alive, still)
    observed = health(*vectors, alive)
    assert float(observed[f"{dead}_deviation"]) < 0.01
    for step in (1, 100, 101):
        for name, value in observed.items():
            if step <= 100 or name != f"{dead}_deviation":
                health.check(name, step, float(value))
    with pytest.raises(UserError, match=f"collapse: the {dead}s .* after 101 steps"):
        health.check(f"{dead}_deviation", 101, float(observed[f"{dead}_deviation"]))
    assert health.train()(alive, alive, alive)["effective_rank"] > 1


def test_mean_cosine_is_that_of_all_pairs_of_different_rows() -> None:
    rows = torch.randn(7, 5) + 0.5
    pairs = [(i, j) for i in range(7) for j in range(7) if i != j]
    expected = sum(torch.cosine_similarity(rows[i], rows[j], dim=0).item() for i, j in pairs) / len(pairs)
    assert mean_cosine(rows) == pytest.approx(expected, abs=1e-6)
    assert mean_cosine(torch.ones(4, 5)) == pytest.approx(1)
    with pytest.raises(ValueError, match="1 rows"):
        mean_cosine(rows[:1])


def test_the_rank_is_computed_every_fifty_steps_and_always_in_evaluation() -> None:
    health, full = EmbeddingHealth(), torch.randn(9, 8)
    ranks = [health(full * (torch.arange(8) < step % 8 + 1))["effective_rank"] for step in range(1, 102)]
    changes = [step for step in range(1, 101) if ranks[step] != ranks[step - 1]]
    assert changes == [50, 100]
    assert health.eval()(full)["effective_rank"] == pytest.approx(effective_rank(full))
    assert health(full[:1]) == {}
