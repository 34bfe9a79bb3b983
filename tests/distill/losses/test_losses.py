"""Losses against S-SONDO's code; where that has a mistake, against the corrected formula."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distill.losses import LOSSES
from distill.losses.contrastive import ClusterAware, Contrastive, Decoupled, Hybrid, OtherClusters
from distill.losses.regression import cosine, l1, mse
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


@pytest.mark.parametrize("name", sorted(set(LOSSES.names()) - {"cosine", "mse", "l1"}))
def test_a_single_row_has_a_loss(name: str) -> None:
    loss = LOSSES.find(name)()
    clusters = (torch.zeros(1),) if getattr(loss, "needs_clusters", False) else ()
    assert loss(torch.randn(1, 4), torch.randn(1, 4), *clusters).isfinite()


@pytest.mark.parametrize("name", ["contrastive", "kl", "decoupled"])
def test_a_temperature_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="temperature 0"):
        LOSSES.find(name)(temperature=0.0)
