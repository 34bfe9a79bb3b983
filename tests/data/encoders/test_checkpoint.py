"""Weights from files of others; tests/teachers/test_checkpoints.py has every real format and damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from distill.data.encoders.checkpoint import (
    Provenance,
    load_weights,
    provenance,
    read_checkpoint,
    split_part,
    without_prefix,
    without_wrappers,
)
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


@pytest.mark.parametrize(
    "nested", ["", "state_dict", "model", "model_state_dict", "net", "params", "ema", "my_own", "model.state_dict"]
)
def test_tensors_are_found_and_the_rest_lies_beside_them(nested: str, tmp_path: Path) -> None:
    content: dict[str, Any] = state(2.0)
    for name in reversed(nested.split(".") if nested else []):
        content = {name: content}
    optimizer = {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"lr": 1.0}]}
    torch.save(content | {"labels": ["a"], "optimizer": optimizer}, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt", "--checkpoint")
    assert read.state.keys() == {"weight", "bias"}
    assert read.extras.keys() == {"labels", "optimizer"}


def test_of_several_sets_of_weights_one_is_chosen_by_its_key(tmp_path: Path) -> None:
    torch.save({"generator": state(1.0), "critic": state(2.0)}, path := tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"holds the weights 'generator', 'critic'; choose one: .*x.pt#generator$"):
        read_checkpoint(path, "--checkpoint")
    assert read_checkpoint(f"{path}#critic", "--checkpoint").state["bias"].eq(2).all()
    torch.save({"model": state(1.0), "ema": state(2.0), "tiny": {"a": torch.ones(1)}}, path)
    with pytest.warns(UserWarning, match=r"'model' is used. To use 'ema': --checkpoint .*x.pt#ema$"):
        assert read_checkpoint(path, "--checkpoint").state["bias"].eq(1).all()
    assert read_checkpoint(f"{path}#ema", "--checkpoint").state["bias"].eq(2).all()
    with pytest.raises(UserError, match=r"x.pt#average: no weights under 'average'; there are 'weight', 'bias', 'ema'"):
        read_checkpoint(f"{path}#average", "--checkpoint")


def test_a_part_is_also_the_start_of_keys(tmp_path: Path) -> None:
    both = {f"net.{key}": t for key, t in state(1.0).items()} | {f"old.{key}": t for key, t in state(2.0).items()}
    torch.save({"state_dict": both}, tmp_path / "x.pt")
    assert read_checkpoint(f"{tmp_path / 'x.pt'}#old", "-").state.keys() == {"weight", "bias"}
    named = tmp_path / "a#b.pt"  # a file with this sign in its name
    torch.save(state(1.0), named)
    assert split_part(named) == (named, "")
    assert split_part(f"{named}#c") == (named, "c")
    assert provenance(f"{tmp_path / 'x.pt'}#old").sha256 == provenance(tmp_path / "x.pt").sha256


def test_a_file_without_weights_names_its_keys(tmp_path: Path) -> None:
    torch.save({"epoch": 1, "history": [1.0]}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="contains no state dict; its keys are 'epoch', 'history'"):
        read_checkpoint(tmp_path / "x.pt", "--checkpoint")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_few_bits_become_float32(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    content = {"a": torch.ones(2, dtype=dtype), "b": torch.ones(2, dtype=torch.float64), "c": torch.ones(2).long()}
    (torch.save if suffix == ".pt" else save_file)(content, tmp_path / f"x{suffix}")
    read = read_checkpoint(tmp_path / f"x{suffix}", "--checkpoint").state
    assert [read[key].dtype for key in "abc"] == [torch.float32, torch.float64, torch.int64]


def test_quantised_weights_are_refused() -> None:
    quantised = {"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.ones(2)}
    with pytest.raises(UserError, match=r"f: 'weight' has dtype torch.int8; quantised weights are not supported"):
        load_weights(torch.nn.Linear(3, 2), quantised, "f")


def test_the_keys_of_a_compiled_network_are_those_of_the_network(tmp_path: Path) -> None:
    compiled = torch.compile(torch.nn.Sequential(torch.nn.Linear(1, 1)))
    torch.save({"state_dict": {f"net.{key}": t for key, t in compiled.state_dict().items()}}, tmp_path / "x.pt")
    assert read_checkpoint(tmp_path / "x.pt", "-").state.keys() == {"net.0.weight", "net.0.bias"}


def test_a_prefix_is_found_by_a_landmark() -> None:
    keys = {"module.a.weight": torch.zeros(1), "module.b": torch.ones(1), "other": torch.ones(1)}
    assert without_prefix(keys, "a.weight", "f").keys() == {"a.weight", "b", "other"}
    assert without_prefix(keys, "missing", "f").keys() == keys.keys()
    shortest = {"x.a": torch.zeros(1), "x.y.a": torch.ones(1), "x.schema": torch.ones(1)}
    with pytest.warns(UserWarning, match=r"--c f: holds several sets of weights; 'x' is used. To use 'x.y': --c f#x.y"):
        assert without_prefix(shortest, "a", "--c f").keys() == {"a", "y.a", "schema"}


def test_names_of_a_whole_network_are_removed_from_keys() -> None:
    one = torch.zeros(1)
    keys = {"module.model.a.weight": one, "net.b.model.c": one, "modela": one, "loss.model.d": one}
    assert without_wrappers(keys, "f").keys() == {"a.weight", "b.model.c", "modela", "loss.model.d"}
    with pytest.raises(UserError, match=r"f: holds the weights 'net.a' and 'model.a'; choose one: f#net$"):
        without_wrappers({"net.a": one, "model.a": one}, "f")


def test_provenance_counts_the_keys_that_were_left_out() -> None:
    text = str(Provenance("a.pt", "ff", ("k1", "k2", "k3", "k4")))
    assert "a.pt" in text
    assert "ff" in text
    assert "4 keys" in text
    assert "k3, ..." in text
    assert "k4" not in text
