"""HEAR's published weights: map their keys to ours and back, and read the sizes from their shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from distill.data.encoders.checkpoint import Provenance, provenance, read_state_dict, without_wrappers
from distill.data.errors import UserError
from distill.students.hear.acoustic import AcousticSizes

# Official names of the layers of a block, and ours.
_BLOCK_LAYERS = {
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
_BLOCK_KEY = re.compile(r"(.*layers\.\d+\.)(.+)")
CONV = "feature_extractor.conv.weight"


def from_official_blocks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the official keys of blocks to ours. Other keys stay the same. Raise UserError for an unknown layer."""
    ours: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = _BLOCK_KEY.fullmatch(key)
        if found is None:
            ours[key] = tensor
            continue
        stem, part = found.groups()
        if projection := re.fullmatch(r"self_attn\.linear_([qkv])\.(weight|bias)", part):
            if projection[1] == "q":
                projections = [key.replace("linear_q", f"linear_{name}") for name in "qkv"]
                ours[f"{stem}attention.qkv.{projection[2]}"] = torch.cat([state[name] for name in projections])
            continue
        official = next((name for name in _BLOCK_LAYERS if part == name or part.startswith(name + ".")), None)
        if official is None:
            raise UserError(f"{key!r} is not a weight of a HEAR block")
        ours[stem + _BLOCK_LAYERS[official] + part.removeprefix(official)] = tensor
    return ours


def to_official_blocks(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our keys of blocks to the official ones. Other keys stay the same."""
    official: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = _BLOCK_KEY.fullmatch(key)
        if found is None:
            official[key] = tensor
            continue
        stem, part = found.groups()
        if part.startswith("attention.qkv."):
            for name, third in zip("qkv", tensor.chunk(3), strict=True):
                official[f"{stem}self_attn.linear_{name}.{part.rpartition('.')[2]}"] = third
            continue
        name, ours = next(pair for pair in _BLOCK_LAYERS.items() if part == pair[1] or part.startswith(pair[1] + "."))
        official[stem + name + part.removeprefix(ours)] = tensor
    return official


def from_official_acoustic(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the official keys of an acoustic model to ours."""
    renamed = {
        key.replace("feature_extractor.conv", "conv").replace("contextual_encoder.layers", "layers"): tensor
        for key, tensor in state.items()
    }
    return from_official_blocks(renamed)


def to_official_acoustic(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our keys of an acoustic model to the official ones."""
    return {
        re.sub(r"^layers", "contextual_encoder.layers", re.sub(r"^conv", "feature_extractor.conv", key)): tensor
        for key, tensor in to_official_blocks(state).items()
    }


def submodule_state(
    state: Mapping[str, Tensor], prefixes: tuple[str, ...], marker: str, where: str
) -> dict[str, Tensor]:
    """Return the weights of one submodule, by their keys without its prefix.

    Args:
        state: Tensors by key.
        prefixes: Prefixes that the submodule can have, in the order in which they are tried.
        marker: A key of the submodule. The first prefix with `prefix + marker` in `state` is used.
        where: Option and file of the user, for messages.

    Raises:
        UserError: no prefix fits.
    """
    for prefix in prefixes:
        if prefix + marker in state:
            return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    candidates = " or ".join(repr(prefix + marker) for prefix in prefixes)
    raise UserError(f"{where}: it has no {candidates} (its first key: {next(iter(state), '')!r})")


def read_submodule(
    checkpoint: str | None, prefixes: tuple[str, ...], marker: str
) -> tuple[dict[str, Tensor], Provenance] | tuple[None, None]:
    """Return the `submodule_state` of an official file, and its provenance. Without a file: None. Raise UserError."""
    if checkpoint is None:
        return None, None
    where = f"--student.checkpoint {checkpoint}"
    file = without_wrappers(read_state_dict(checkpoint, "--student.checkpoint"), where)
    part = submodule_state(file, prefixes, marker, where)
    return part, provenance(checkpoint, unused_keys(file, part))


def unused_keys(file: Mapping[str, Tensor], used: Mapping[str, Tensor]) -> list[str]:
    """Return the keys of a file whose tensors are not among those used."""
    taken = {id(tensor) for tensor in used.values()}
    return [key for key, tensor in file.items() if id(tensor) not in taken]


def acoustic_sizes(state: Mapping[str, Tensor]) -> AcousticSizes:
    """Return the sizes of an acoustic model, from the shapes of its official tensors (keys without prefix)."""
    layers = 1 + max(int(found[1]) for key in state if (found := re.match(r"contextual_encoder\.layers\.(\d+)\.", key)))
    stem = "contextual_encoder.layers.0."
    return AcousticSizes(
        hidden=state[CONV].shape[0],
        intermediate=state[f"{stem}ffn.intermediate_dense.weight"].shape[0],
        heads=state[f"{stem}self_attn.query_bias1"].shape[0],
        layers=layers,
        window=state[f"{stem}self_attn.relative_position_k.positional_embedding.weight"].shape[0] // 2,
    )
