"""Measures of collapse: values for vectors of known spread, and when a run stops."""

from __future__ import annotations

import pytest
import torch

from distill.data.errors import UserError
from distill.objectives.parts.health import Health, deviation, effective_rank


def test_deviation_is_the_mean_of_that_of_each_column() -> None:
    vectors = torch.randn(4, 2_500, 3) * torch.tensor([1.0, 2.0, 6.0])
    assert deviation(vectors) == pytest.approx(3.0, rel=0.03)
    assert deviation(torch.randn(1, 3)) == 0


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_is_the_rank_of_even_directions(rank: int) -> None:
    directions = torch.linalg.qr(torch.randn(16, rank)).Q
    rows = torch.cat([directions.T, -directions.T]) * 5 + 100
    assert effective_rank(rows) == pytest.approx(rank, rel=1e-2)


@pytest.mark.parametrize("dead", ["target", "prediction"])
def test_only_an_old_run_in_training_stops(dead: str) -> None:
    alive, still = torch.randn(8, 4), torch.ones(8, 4)
    health = Health()
    vectors = (still, alive) if dead == "target" else (alive, still)
    for _ in range(100):
        health(*vectors, alive)
    with pytest.raises(UserError, match=f"collapse: the {dead}s"):
        health(*vectors, alive)
    assert health.eval()(*vectors, alive)[f"{dead}_deviation"] < 0.01
    assert health.train()(alive, alive, alive)["effective_rank"] > 1
