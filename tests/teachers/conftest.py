"""A tiny checkpoint of every teacher, in its real format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import distill
from distill.students.saved import save_student
from tests.conftest import GOLDEN

Options = dict[str, dict[str, Any]]


def matpac_state(unit: int = 608, dim: int = 32, depth: int = 2, classes: int = 0) -> dict[str, Tensor]:
    """Random weights under the official keys; no official numbers of MATPAC are at hand."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "cls_token": random(1, 1, dim),
        "pos_embed": random(1, 1 + 5 * unit // 16, dim),
        "patch_embed.proj.weight": random(dim, 1, 16, 16) * 0.1,
        "patch_embed.proj.bias": random(dim),
        "student_encoder.norm.weight": 1 + random(dim),
        "student_encoder.norm.bias": random(dim),
    }
    shapes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (2 * dim, dim), "mlp.fc2": (dim, 2 * dim)}
    for block in range(depth):
        stem = f"student_encoder.blocks.{block}."
        for norm in ("norm1", "norm2"):
            state |= {f"{stem}{norm}.weight": 1 + random(dim), f"{stem}{norm}.bias": random(dim)}
        for name, shape in shapes.items():
            state |= {f"{stem}{name}.weight": random(*shape), f"{stem}{name}.bias": random(shape[0])}
    if classes:
        state |= {"head_norm.running_mean": random(dim), "head_norm.running_var": random(dim).abs() + 0.5}
        state |= {"head.weight": random(classes, dim), "head.bias": random(classes)}
    return state


def _save_wav2vec2(folder: Path) -> str:
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    """Options that build each teacher with tiny weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    torch.save(matpac_state(), folder / "matpac.pt")
    save_student(distill.create_student("mobilenet_v3", width=0.1), folder / "student", "card")
    return {
        "ast": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")},
        "beats": {"checkpoint": str(GOLDEN / "beats" / "beats_tiny_finetuned.pt")},
        "clap": {"checkpoint": str(GOLDEN / "clap" / "clap_tiny_unfused")},
        "frozen": {"student": str(folder / "student")},
        "matpac": {"checkpoint": str(folder / "matpac.pt"), "heads": 2},
        "passt": {"checkpoint": str(GOLDEN / "passt" / "passt_tiny_s10.pt"), "heads": 4},
        "spectral": {},
        "ssast": {"checkpoint": str(GOLDEN / "ssast" / "ssast_tiny_frame.pth"), "heads": 4},
        "transformers": {"checkpoint": _save_wav2vec2(folder / "wav2vec2")},
    }
