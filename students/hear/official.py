"""HEAR's published weights: their keys, the sizes that their shapes tell, and the way back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distill.data.encoders.checkpoint import Provenance, provenance, read_state_dict
from distill.data.errors import UserError

# Official name of a block's part, and ours.
_PARTS = {
    "layer_norm1": "norm1",
    "self_attn.query_bias1": "attention.content_bias",
    "self_attn.query_bias2": "attention.position_bias",
    "self_attn.linear_out": "attention.out",
    "self_attn.relative_position_k.positional_embedding.weight": "attention.position_keys",
    "self_attn.relative_position_v.positional_embedding.weight": "attention.position_values",
    "layer_norm2": "norm2",
    "ffn.layer_norm": "feed_forward.0",
    "ffn.intermediate_dense": "feed_forward.1",
    "ffn.output_dense": "feed_forward.4",
}
_BLOCK = re.compile(r"(.*layers\.\d+\.)(.+)")
CONV = "feature_extractor.conv.weight"


def from_official_blocks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blocks by our names; keys that are not of a block stay as they are."""
    ours: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = _BLOCK.fullmatch(key)
        if found is None:
            ours[key] = tensor
            continue
        stem, part = found.groups()
        if projection := re.fullmatch(r"self_attn\.linear_([qkv])\.(weight|bias)", part):
            if projection[1] == "q":
                of = [key.replace("linear_q", f"linear_{name}") for name in "qkv"]
                ours[f"{stem}attention.qkv.{projection[2]}"] = torch.cat([state[name] for name in of])
            continue
        official = next((name for name in _PARTS if part == name or part.startswith(name + ".")), None)
        if official is None:
            raise UserError(f"{key!r} is no part of a HEAR block")
        ours[stem + _PARTS[official] + part.removeprefix(official)] = tensor
    return ours


def to_official_blocks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blocks by the official names; keys that are not of a block stay as they are."""
    official: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = _BLOCK.fullmatch(key)
        if found is None:
            official[key] = tensor
            continue
        stem, part = found.groups()
        if part.startswith("attention.qkv."):
            for name, third in zip("qkv", tensor.chunk(3), strict=True):
                official[f"{stem}self_attn.linear_{name}.{part.rpartition('.')[2]}"] = third
            continue
        name, ours = next(pair for pair in _PARTS.items() if part == pair[1] or part.startswith(pair[1] + "."))
        official[stem + name + part.removeprefix(ours)] = tensor
    return official


def from_official_acoustic(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official acoustic model as the state of ours."""
    renamed = {
        key.replace("feature_extractor.conv", "conv").replace("contextual_encoder.layers", "layers"): tensor
        for key, tensor in state.items()
    }
    return from_official_blocks(renamed)


def to_official_acoustic(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of our acoustic model by the official keys."""
    return {
        re.sub(r"^layers", "contextual_encoder.layers", re.sub(r"^conv", "feature_extractor.conv", key)): tensor
        for key, tensor in to_official_blocks(state).items()
    }


def part_of(state: Mapping[str, Tensor], prefixes: tuple[str, ...], marker: str, where: str) -> dict[str, Tensor]:
    """The keys below the first of the prefixes that has `marker` below it, without that prefix.

    Raises:
        UserError: none has.
    """
    for prefix in prefixes:
        if prefix + marker in state:
            return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    wanted = " or ".join(repr(prefix + marker) for prefix in prefixes)
    raise UserError(f"{where}: it has no {wanted} (its first key: {next(iter(state), '')!r})")


def read_part(checkpoint: str, prefixes: tuple[str, ...], marker: str) -> tuple[dict[str, Tensor], Provenance]:
    """`part_of` an official file, and where it came from. Raises UserError."""
    file = read_state_dict(checkpoint, "--student.checkpoint")
    part = part_of(file, prefixes, marker, f"--student.checkpoint {checkpoint}")
    return part, provenance(checkpoint, left_out(file, part))


def left_out(file: Mapping[str, Tensor], used: Mapping[str, Tensor]) -> list[str]:
    """Keys of a file whose tensors are not among those used."""
    taken = {id(tensor) for tensor in used.values()}
    return [key for key, tensor in file.items() if id(tensor) not in taken]


def acoustic_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of an acoustic model from the shapes of its official tensors, by key without prefix."""
    layers = 1 + max(int(found[1]) for key in state if (found := re.match(r"contextual_encoder\.layers\.(\d+)\.", key)))
    stem = "contextual_encoder.layers.0."
    return {
        "hidden": state[CONV].shape[0],
        "intermediate": state[f"{stem}ffn.intermediate_dense.weight"].shape[0],
        "heads": state[f"{stem}self_attn.query_bias1"].shape[0],
        "layers": layers,
        "window": state[f"{stem}self_attn.relative_position_k.positional_embedding.weight"].shape[0] // 2,
    }
