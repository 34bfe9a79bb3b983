"""Weights from files of others; tests/teachers/test_checkpoints.py has every real format and damage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.data.encoders.checkpoint import Provenance, load_weights, read_checkpoint, without_prefix
from distill.data.errors import UserError


def state(fill: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((2, 3), fill), "bias": torch.full((2,), fill)}


def test_weights_are_copied_all_or_none() -> None:
    network = torch.nn.Linear(3, 2)
    assert load_weights(network, state(1.0) | {"other.b": torch.zeros(1), "other.a": torch.zeros(1)}, "f") == [
        "other.a",
        "other.b",
    ]
    for wrong in ({"weight": torch.zeros(2, 3)}, {"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}):
        with pytest.raises(UserError, match=r"f: .*'bias'"):
            load_weights(network, wrong, "f")
        assert network.weight.eq(1).all()
    load_weights(network, {"weight": torch.zeros(2, 3)}, "f", ignore=["bi*"])
    assert network.weight.eq(0).all()
    assert network.bias.eq(1).all()


@pytest.mark.parametrize("nested", ["", "state_dict", "model"])
def test_tensors_are_found_and_the_rest_lies_beside_them(nested: str, tmp_path: Path) -> None:
    content = state(2.0) | {"labels": ["a"]} if not nested else {nested: state(2.0), "labels": ["a"]}
    torch.save(content, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "--checkpoint")
    assert read.state.keys() == {"weight", "bias"}
    assert read.extras == {"labels": ["a"]}


def test_a_prefix_is_found_by_a_landmark() -> None:
    keys = {"module.a.weight": torch.zeros(1), "module.b": torch.ones(1), "other": torch.ones(1)}
    assert without_prefix(keys, "a.weight").keys() == {"a.weight", "b", "other"}
    assert without_prefix(keys, "missing").keys() == keys.keys()
    shortest = {"x.a": torch.zeros(1), "x.y.a": torch.ones(1)}
    assert without_prefix(shortest, "a").keys() == {"a", "y.a"}


def test_provenance_counts_the_keys_that_were_left_out() -> None:
    text = str(Provenance("a.pt", "ff", ("k1", "k2", "k3", "k4")))
    assert "a.pt" in text
    assert "ff" in text
    assert "4 keys" in text
    assert "k3, ..." in text
    assert "k4" not in text
