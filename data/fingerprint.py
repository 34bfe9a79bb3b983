"""Digests of all inputs of an embedding, so that stores of different embeddings are never mixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distill.data.errors import StoreError

if TYPE_CHECKING:  # a manifest needs digests, but not torch
    from torch import nn


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hexadecimal, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes, dtypes and bytes of all parameters and saved buffers, in hexadecimal."""
    import torch

    state = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        state.update(f"{name} {tuple(array.shape)} {array.dtype}".encode())
        state.update(array.flatten().view(torch.uint8).numpy() if array.numel() else b"")
    return state.hexdigest()


def refuse_difference(place: Any, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise StoreError if two fingerprints differ. The message names every different field, with both values.

    Args:
        place: The folder of the store, for the message.
        found: Fingerprint of the store.
        expected: Fingerprint of the run.
    """
    fields = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if fields:
        differences = "; ".join(f"{name} is {found.get(name)!r}, not {expected.get(name)!r}" for name in fields)
        raise StoreError(f"{place} holds other embeddings than requested: {differences}. Choose another folder")
