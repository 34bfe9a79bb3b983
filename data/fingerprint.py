"""A name for everything that shaped an embedding, so that a cache never passes for another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distill.data.errors import StoreError

if TYPE_CHECKING:  # reading a manifest needs digests and no torch
    from torch import nn


def digest(value: Any) -> str:
    """Sha256 of a JSON value, in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def weights_digest(network: nn.Module) -> str:
    """Sha256 over the names, shapes, dtypes and bytes of all parameters and saved buffers."""
    import torch

    state = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        state.update(f"{name} {tuple(array.shape)} {array.dtype}".encode())
        state.update(array.flatten().view(torch.uint8).numpy() if array.numel() else b"")
    return state.hexdigest()


def refuse_difference(place: Any, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise StoreError naming every field in which two fingerprints differ, with both values."""
    fields = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if fields:
        differences = "; ".join(f"{name} is {found.get(name)!r}, not {wanted.get(name)!r}" for name in fields)
        raise StoreError(f"{place} holds other embeddings than asked for: {differences}. Choose another folder")
