"""Reading weights that somebody else has written: a checkpoint is data and never runs code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from distill.data.errors import UserError


def read_state_dict(path: str | Path, option: str) -> dict[str, Tensor]:
    """Tensors by key, from a safetensors file or a PyTorch one (bare, or under "state_dict" or "model").

    Args:
        path: The file.
        option: How the user named it, for messages.

    Raises:
        UserError: missing, cut off, or holding anything but data.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{option} {path}: no such file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{option} {path}: damaged or cut off ({_first_line(error)})") from error
    content = read_pickle(path, option)
    for nested in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(nested), dict):
            content = content[nested]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{option} {path}: no state dict in it")
    return content


def read_pickle(path: Path, option: str) -> Any:
    """A PyTorch file, as data only. Raises UserError."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and torch each raise their own for a damaged file
        if "weights_only" in str(error) or "Unsupported" in str(error):
            message = "it holds code or objects beside tensors, and is not loaded for that"
        else:
            message = f"damaged or cut off ({_first_line(error)})"
        raise UserError(f"{option} {path}: {message}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
