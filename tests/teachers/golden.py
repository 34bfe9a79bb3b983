"""Inputs and outputs of official code, in tests/golden/, and the tolerance of each comparison."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor

from distill.data.encoders.windows import Windows
from tests.conftest import GOLDEN

WHOLE = Windows(seconds=0)


def waveforms(name: str) -> dict[str, Tensor]:
    """Return the inputs of one teacher, float32 in [-1, 1], by name."""
    stored = load_file(GOLDEN / name / "inputs.safetensors")
    return {key: tensor.float() / 32768 for key, tensor in stored.items() if tensor.dtype == torch.int16}


class Golden:
    """Stored outputs of the official code of one teacher."""

    def __init__(self, name: str, tolerance: float) -> None:
        self.outputs = load_file(GOLDEN / name / "outputs.safetensors")
        self.tolerance = tolerance

    def check(self, name: str, found: Tensor) -> None:
        """Assert that shapes are equal and values within the tolerance."""
        torch.testing.assert_close(found, self.outputs[name], atol=self.tolerance, rtol=0, msg=lambda m: f"{name}: {m}")


def vision_state(dim: int, depth: int) -> dict[str, Tensor]:
    """Return the tensors from which a vision transformer reads its depth and widths."""
    return {f"blocks.{block}.mlp.fc1.weight": torch.empty(4 * dim, dim) for block in range(depth)}
