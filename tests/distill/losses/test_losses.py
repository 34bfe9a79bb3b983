"""Losses against S-SONDO's code; where that has a mistake, against the corrected formula."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.losses import LOSSES, build_loss
from distill.losses.contrastive import ClusterAware, Contrastive, Decoupled, Hybrid, OtherClusters
from distill.losses.regression import CosineSmoothL1, cosine, l1, mse, smooth_l1
from tests.conftest import GOLDEN

STORED = np.load(GOLDEN / "ssondo" / "losses.npz")
VALUES = json.loads((GOLDEN / "ssondo" / "losses.json").read_text())
KINDS = ("mixed", "all_same", "all_diff")

CASES: dict[str, Any] = {"cosine": cosine, "mse": mse, "l1": l1}
CASES |= {f"kl_T{t}": LOSSES.find("kl")(temperature=t) for t in (1.0, 2.0, 4.0)}
for t in (0.07, 0.2, 1.0):
    CASES |= {f"clap_T{t}": Contrastive(t), f"real_contrastive_T{t}": Decoupled(t)}
    for kind in KINDS:
        CASES[f"neg_clusters_{kind}_T{t}"] = OtherClusters(t, official=True)
        CASES[f"cluster_aware_{kind}_T{t}"] = ClusterAware(t, official=True)
        CASES[f"FIXED_neg_clusters_{kind}_T{t}"] = OtherClusters(t)
        CASES[f"FIXED_cluster_aware_withself_{kind}_T{t}"] = ClusterAware(t)
        CASES[f"FIXED_cluster_aware_noself_{kind}_T{t}"] = ClusterAware(t, own=False)
CASES |= {f"hybrid_{kind}_T0.2_w1-1-1": Hybrid(1, 1, 1, 0.2, official=True) for kind in KINDS}
CASES["hybrid_mixed_T0.2_w1-0.5-0.1"] = Hybrid(1, 0.5, 0.1, 0.2, official=True)


def clusters_of(name: str) -> tuple[Tensor, ...]:
    kind = next((kind for kind in KINDS if f"_{kind}" in name), None)
    return () if kind is None else (torch.from_numpy(STORED[f"labels_{kind}"]),)


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_equal_the_golden_ones(name: str) -> None:
    prediction = torch.from_numpy(STORED["y_hat"]).requires_grad_()
    loss = CASES[name](prediction, torch.from_numpy(STORED["y_teacher"]), *clusters_of(name))
    loss.backward()
    assert loss.item() == pytest.approx(VALUES[name]["value"], rel=1e-5, abs=1e-6)
    assert prediction.grad is not None
    np.testing.assert_allclose(prediction.grad.numpy(), STORED[f"grad_{name}"], rtol=1e-3, atol=2e-7)


@pytest.mark.parametrize("kind", ["other_clusters", "cluster_aware", "contrastive", "decoupled"])
def test_small_temperatures_stay_finite(kind: str) -> None:
    loss = LOSSES.find(kind)(temperature=0.005)
    clusters = (torch.tensor([0, 0, 1, 1]),) if getattr(loss, "needs_clusters", False) else ()
    prediction = torch.randn(4, 8, requires_grad=True)
    value = loss(prediction, torch.randn(4, 8), *clusters)
    value.backward()
    assert value.isfinite()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted(set(LOSSES.names()) - {"cosine", "mse", "l1", "smooth_l1"}))
def test_a_single_row_has_a_loss(name: str) -> None:
    loss = LOSSES.find(name)()
    clusters = (torch.zeros(1),) if getattr(loss, "needs_clusters", False) else ()
    assert loss(torch.randn(1, 4), torch.randn(1, 4), *clusters).isfinite()


@pytest.mark.parametrize("name", ["contrastive", "kl", "decoupled"])
def test_a_temperature_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="temperature 0"):
        LOSSES.find(name)(temperature=0.0)


@pytest.mark.parametrize("name", ["cosine", "mse", "l1", "kl", "smooth_l1"])
def test_no_constant_prediction_is_better_than_the_loss_says(name: str) -> None:
    loss = build_loss(name)
    targets = torch.randn(41, 6).exp() - 0.5  # skewed: mean and median differ
    best = loss.constant(targets)  # type: ignore[attr-defined]
    lowest = loss(best.expand_as(targets), targets)
    for _ in range(200):
        other = best + torch.randn(6) * 0.1
        assert loss(other.expand_as(targets), targets) >= lowest - 1e-6
    zero = best.clone().requires_grad_()
    loss(zero.expand_as(targets), targets).backward()
    assert zero.grad is not None
    assert name == "l1" or zero.grad.abs().max() < 1e-5


def test_a_loss_has_a_best_constant_or_is_judged_by_recall() -> None:
    losses = {name: build_loss(name) for name in LOSSES.names()}
    constants = {name for name, loss in losses.items() if hasattr(loss, "constant")}
    retrieving = {name for name, loss in losses.items() if getattr(loss, "retrieves", False)}
    assert constants == {"cosine", "mse", "l1", "kl", "smooth_l1", "cosine_smooth_l1"}
    assert retrieving == {"contrastive", "decoupled", "other_clusters", "cluster_aware", "hybrid", "queue_kl"}


def test_the_constant_of_cosine_and_smooth_l1_is_nearly_the_best_one() -> None:
    loss, targets = CosineSmoothL1(), torch.randn(400, 12).exp()
    targets = (targets - targets.mean(0)) / targets.std(0)
    found = loss.constant(targets)
    best = found.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([best], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(best.expand_as(targets), targets)
        value.backward()
        return value

    optimizer.step(closure)
    values = [loss(value.detach().expand_as(targets), targets).item() for value in (found, best)]
    assert values[1] < values[0] < values[1] + 5e-3


def test_cosine_and_smooth_l1_are_added_by_their_weights() -> None:
    prediction, target = torch.randn(5, 3) * 3, torch.randn(5, 3)
    difference = (prediction - target).abs()
    elements = [d * d / 2 if d < 1 else d - 0.5 for d in difference.flatten().tolist()]
    assert smooth_l1(prediction, target).item() == pytest.approx(sum(elements) / 15, rel=1e-5)
    expected = 0.9 * cosine(prediction, target).item() + 0.1 * sum(elements) / 15
    assert CosineSmoothL1()(prediction, target).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="cosine -1"):
        CosineSmoothL1(-1)
