"""One teacher of a distillation: the state of earlier versions, and rows without a pair."""

from __future__ import annotations

import torch

import distill
from distill.losses import build_loss
from distill.objectives.parts.imitation import Imitation, build_projector
from tests.own_parts import Loudness


def imitation(loss: str = "mse", targets: str = "standardised") -> Imitation:
    return Imitation(Loudness(), build_projector("linear", 4, 3, 0, 0.0), build_loss(loss), None, targets)


def test_the_state_of_an_earlier_version_loads() -> None:
    older, newer = imitation(), imitation()
    clip = [distill.Embeddings.of_clip(torch.randn(6, size)) for size in (4, 3)]
    older(*clip)
    state = {name: value for name, value in older.state_dict().items() if not name.startswith("yardstick")}
    newer.load_state_dict(state)
    assert newer.yardstick.constant is not None
    assert newer.yardstick.constant.count == 0
    assert newer.normalise is not None
    assert older.normalise is not None
    assert newer.normalise.mean.equal(older.normalise.mean)
    newer.load_state_dict(older.state_dict())
    assert newer.yardstick.constant.count == 6


def test_a_loss_without_a_yardstick_has_no_measurement() -> None:
    clip = [distill.Embeddings.of_clip(torch.randn(6, size)) for size in (4, 3)]
    found = {name: imitation(name).eval()(*clip).observed for name in ("relational", "contrastive", "mse")}
    assert found["relational"] == found["mse"] == {}
    assert found["contrastive"].keys() == {"recall"}
