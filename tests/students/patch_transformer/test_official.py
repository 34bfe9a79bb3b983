"""The published weights of EAT and CAT: keys, sizes and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from distill.data.errors import UserError
from distill.students.patch_transformer.student import PatchTransformer
from tests.students.patch_transformer.golden import assert_close, golden, official_objective, source


def test_hugging_face_and_fine_tuned_keys_load_too(tmp_path: Path) -> None:
    student = official_objective("eat", tmp_path).student
    state = {k: v for k, v in golden("eat", "state_dict").items() if "_ema" not in k and "decoder" not in k}
    fine_tuned = {f"model.{key}": value for key, value in state.items()} | {"model.head.weight": torch.zeros(3, 32)}
    hub = {
        "model." + key.replace("modality_encoders.IMAGE.", "").replace("context_encoder.norm", "pre_norm"): value
        for key, value in state.items()
    }
    for number, layout in enumerate((fine_tuned, hub)):
        save_file(layout, tmp_path / f"{number}.safetensors")
        again = PatchTransformer(heads=2, checkpoint=str(tmp_path / f"{number}.safetensors"))
        assert again.sizes["hidden"] == 32
        assert all(again.state_dict()[key].equal(value) for key, value in student.state_dict().items())
    assert again.provenance is not None
    save_file({"blocks.0.norm1.weight": torch.zeros(3)}, tmp_path / "no.safetensors")
    with pytest.raises(UserError, match="not an EAT or CAT encoder"):
        PatchTransformer(checkpoint=str(tmp_path / "no.safetensors"))


def fine_tuned(folder: Path, **options: Any) -> PatchTransformer:
    inputs = golden("eat", "inputs")
    head = {"head.weight": inputs["ft.head.weight"], "head.bias": inputs["ft.head.bias"]}
    head |= {"fc_norm.weight": inputs["ft.fc_norm.weight"], "fc_norm.bias": inputs["ft.fc_norm.bias"]}
    state = {k: v for k, v in golden("eat", "state_dict").items() if "_ema" not in k and "decoder" not in k}
    save_file({f"model.{key}": value for key, value in (state | head).items()}, folder / "ft.safetensors")
    return PatchTransformer(heads=2, checkpoint=str(folder / "ft.safetensors"), **options)


def test_fine_tuned_logits_equal_the_official_ones(tmp_path: Path) -> None:
    student = fine_tuned(tmp_path, classes=7).eval()
    with torch.no_grad():
        encoded = student.contextual(student.embed_patches(source("eat"))).tokens
        assert student.head is not None
        assert_close(student.head(encoded[:, 0]), golden("eat", "outputs")["ft_logits"])
        assert_close(student.head(encoded[:, 1:].mean(1)), golden("eat", "outputs")["ft_logits_MEAN_POOLING"])
    other = fine_tuned(tmp_path, classes=3)  # a head with another number of classes has random weights
    assert other.head is not None
    assert other.head[1].weight.shape == (3, 32)
    assert "head.1.weight" in other.provenance.dropped


def test_the_official_state_is_the_official_file(tmp_path: Path) -> None:
    """EAT and CAT without decoder and slow copy; fine-tuned also with the head."""
    for system in ("eat", "cat"):
        published = {
            key: tensor
            for key, tensor in golden(system, "state_dict").items()
            if not key.startswith(("_ema.", "clap_proj.")) and ".decoder." not in key
        }
        state = official_objective(system, tmp_path).student.official_state()
        assert state.keys() == published.keys()
        assert all(state[key].equal(published[key]) for key in state)
    head = {
        key for key in fine_tuned(tmp_path, classes=7).official_state() if "modality" not in key and "blocks" not in key
    }
    assert head == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    with pytest.raises(UserError, match=r"EAT's code has --student\.norm post"):
        PatchTransformer(hidden=16, layers=1, heads=2, norm="pre").official_state()
