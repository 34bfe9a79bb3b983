"""What `distill list teachers` says of checkpoints that are not at hand, against networks of their sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from distill.teachers import TEACHERS, beats, matpac, passt, ssast
from distill.teachers.teacher import Teacher


def vit(dim: int, depth: int) -> dict[str, Tensor]:
    return {f"blocks.{block}.mlp.fc1.weight": torch.empty(4 * dim, dim) for block in range(depth)}


def build_ast() -> nn.Module:
    from transformers import ASTConfig, ASTForAudioClassification

    return ASTForAudioClassification(ASTConfig(num_labels=527))


def build_beats() -> nn.Module:
    shapes = {
        "patch_embedding.weight": (512, 1, 16, 16), "post_extract_proj.weight": (768, 512),
        "encoder.pos_conv.0.weight": (768, 48, 128), "encoder.relative_attention_bias.weight": (320, 12),
        "encoder.layers.0.self_attn.grep_a": (1, 12, 1, 1),
    }  # fmt: skip
    shapes |= {f"encoder.layers.{layer}.fc1.weight": (3072, 768) for layer in range(12)}
    return beats.BEATsNetwork({key: torch.empty(shape) for key, shape in shapes.items()}, 800)


def build_clap() -> nn.Module:
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection

    return ClapAudioModelWithProjection(ClapAudioConfig(num_hidden_layers=4))


def build_matpac() -> nn.Module:
    state = {f"student_encoder.{key}": tensor for key, tensor in vit(768, 12).items()}
    state |= {"cls_token": torch.empty(1, 1, 768), "pos_embed": torch.empty(1, 1 + 5 * 38, 768)}
    return matpac.MATPACNetwork(state, 0)


def build_passt() -> nn.Module:
    state = vit(768, 12) | {
        "freq_new_pos_embed": torch.empty(1, 768, 12, 1), "time_new_pos_embed": torch.empty(1, 768, 1, 99),
        "head.1.weight": torch.empty(527, 768),
    }  # fmt: skip
    return passt.PaSSTNetwork(state, 0)


def build_ssast() -> nn.Module:
    state = {f"v.{key}": tensor for key, tensor in vit(768, 12).items()} | {
        "v.patch_embed.proj.weight": torch.empty(768, 1, 128, 2), "v.pos_embed": torch.empty(1, 514, 768),
        "v.cls_token": torch.empty(1, 1, 768), "v.dist_token": torch.empty(1, 1, 768),
    }  # fmt: skip
    return ssast.SSASTNetwork(state, 1024, (0, 0), 0)


BUILDERS = {
    "ast": build_ast, "beats": build_beats, "clap": build_clap, "matpac": build_matpac, "passt": build_passt,
    "ssast": build_ssast,
}  # fmt: skip


@pytest.mark.parametrize("name", BUILDERS)
def test_published_parameter_counts_are_those_of_the_networks(name: str) -> None:
    with torch.device("meta"):
        network = BUILDERS[name]()
    teacher = TEACHERS.find(name)
    assert isinstance(teacher, type)
    assert issubclass(teacher, Teacher)
    assert teacher.published is not None
    assert sum(parameter.numel() for parameter in network.parameters()) == teacher.published.parameters
