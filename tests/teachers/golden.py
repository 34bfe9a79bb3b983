"""Inputs and outputs of official code, in tests/golden/, and the tolerance of each comparison."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
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


def noise(seconds: float, sample_rate: int) -> Tensor:
    """Return noise whose level changes at each quarter. Shape (1, samples)."""
    samples = round(seconds * sample_rate)
    levels = np.repeat([0.3, 0.03, 0.001, 0.1], -(-samples // 4))[:samples]
    return torch.from_numpy(np.float32(np.random.RandomState(0).standard_normal(samples) * levels)).unsqueeze(0)


def formula_state(shapes: Mapping[str, tuple[int, ...]], offsets: Mapping[str, float] = {}) -> dict[str, Tensor]:
    """Return weights by the rule in tests/golden/README.md, which depend on keys and shapes alone.

    Args:
        shapes: Shape of each tensor, by its official key.
        offsets: Centres of tensors that the rule does not suit, such as statistics of the input.
    """
    state = {}
    for key, shape in shapes.items():
        normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
        kind = key.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[key] = torch.zeros((), dtype=torch.long)
            continue
        scale = 0.1 if len(shape) < 2 else float(np.prod(shape[1:])) ** -0.5
        centre = 1.0 if kind == "running_var" or (kind == "weight" and len(shape) == 1) else 0.0
        values = np.abs(normal) if kind == "running_var" else normal
        state[key] = torch.from_numpy(np.float32(scale * values + offsets.get(key, centre)))
    return state


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
