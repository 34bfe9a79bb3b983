"""Losses between all clips of a batch: their lowest value, temperatures and formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.losses.contrastive import (
    ClusterAware,
    Contrastive,
    Decoupled,
    Hybrid,
    KullbackLeibler,
    OtherClusters,
    Relational,
)
from tests.conftest import GOLDEN

STORED = np.load(GOLDEN / "ssondo" / "losses.npz")


def test_only_the_corrected_losses_are_lowest_for_a_perfect_student() -> None:
    target = torch.from_numpy(STORED["y_teacher"])
    clusters = torch.from_numpy(STORED["labels_mixed"])
    wrong = torch.from_numpy(STORED["y_hat"])
    for loss in (Contrastive(), Decoupled(), Relational()):
        assert loss(target, target) < loss(wrong, target)
    for loss in (OtherClusters(), ClusterAware(), Hybrid()):
        assert loss(target, target, clusters) < loss(wrong, target, clusters)
    assert ClusterAware(1.0, official=True)(target, target, clusters).item() > 0.69  # ln 2 for every student


def test_only_a_learned_temperature_is_a_parameter_with_a_gradient() -> None:
    loss = Contrastive(0.07, learned=True)
    loss(torch.randn(4, 8), torch.randn(4, 8)).backward()
    assert [name for name, _ in loss.named_parameters()] == ["log_scale"]
    assert loss.log_scale.grad is not None
    assert not list(Contrastive(0.07).parameters())


def test_relational_equals_its_formula_pair_by_pair() -> None:
    prediction, target = torch.randn(5, 3), torch.randn(5, 7)

    def similarity(rows: Tensor, i: int, j: int) -> float:
        return torch.cosine_similarity(rows[i], rows[j], dim=0).item()

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    expected = sum((similarity(prediction, *pair) - similarity(target, *pair)) ** 2 for pair in pairs) / len(pairs)
    assert Relational()(prediction, target).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", [Contrastive, Decoupled, OtherClusters, ClusterAware])
def test_a_learned_temperature_is_at_least_one_hundredth(kind: Any) -> None:
    clusters = (torch.tensor([0, 0, 1, 1]),) if getattr(kind, "needs_clusters", False) else ()
    prediction, target = torch.randn(4, 8), torch.randn(4, 8)
    lowest, loss = kind(0.01)(prediction, target, *clusters), kind(0.07, learned=True)
    for temperature, expected in (
        (1e-2, lowest),
        (1e-3, lowest),
        (1e-30, lowest),
        (0.5, kind(0.5)(prediction, target, *clusters)),
    ):
        with torch.no_grad():
            loss.log_scale.fill_(-np.log(temperature))
        torch.testing.assert_close(loss(prediction, target, *clusters), expected, rtol=1e-4, atol=1e-5)
    assert abs(kind(0.005)(prediction, target, *clusters) - lowest) > 1e-2  # a fixed temperature may be lower


def test_kl_equals_its_formula_element_by_element() -> None:
    prediction, target, temperature = torch.randn(3, 4), torch.randn(3, 4), 2.0
    q, p = (
        (rows / temperature).exp() / (rows / temperature).exp().sum(1, keepdim=True) for rows in (prediction, target)
    )
    expected = sum(float(a * (a / b).log()) for a, b in zip(p.flatten(), q.flatten(), strict=True)) / 12
    found = KullbackLeibler(temperature)(prediction, target)
    assert float(found) == pytest.approx(temperature**2 * expected, rel=1e-4)


def test_clips_of_one_cluster_have_no_negatives_and_no_loss() -> None:
    prediction = torch.randn(4, 8, requires_grad=True)
    for loss in (OtherClusters(), ClusterAware()):
        value = loss(prediction, torch.randn(4, 8), torch.zeros(4))
        value.backward()
        assert value.item() == 0
