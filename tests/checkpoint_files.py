"""Copies of checkpoints with weights of another dtype, in the format of the original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file


def copy_in_dtype(checkpoint: str, dtype: torch.dtype, folder: Path) -> str:
    """Copy a file, or a folder in the layout of transformers, with all floating-point tensors in `dtype`.

    Args:
        checkpoint: The file or folder.
        dtype: Data type of the copy.
        folder: Folder of the copy.

    Returns:
        The path of the copy.
    """
    source, copy = Path(checkpoint), folder / f"{str(dtype).removeprefix('torch.')}_{Path(checkpoint).name}"
    if source.is_file():
        if source.suffix == ".safetensors":
            save_file(_cast(load_file(source), dtype), copy)
        else:
            torch.save(_cast(torch.load(source, weights_only=True), dtype), copy)
        return str(copy)
    shutil.copytree(source, copy)
    for file in copy.glob("*.safetensors"):
        save_file(_cast(load_file(file), dtype), file, {"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}))
    return str(copy)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    return {key: _cast(item, dtype) for key, item in value.items()} if isinstance(value, Mapping) else value
