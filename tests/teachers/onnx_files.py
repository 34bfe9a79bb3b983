"""Tiny ONNX files: the waveform becomes frames of 20 ms by one convolution, and their mean is the clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

RATE, HOP, WINDOW, DIM = 16_000, 320, 640, 6
FLOAT = TensorProto.FLOAT
TO_BATCH_1_SAMPLES = {1: [1, 1, -1], 2: [0, 1, -1], 3: [0, 0, -1]}  # by number of dimensions
Sizes = Sequence[int | str] | None


def filters() -> Tensor:
    return torch.randn(DIM, 1, WINDOW, generator=torch.Generator().manual_seed(3)) * 0.1


def expected_frames(waveform: Tensor) -> Tensor:
    """Return the frames (batch, time, dim) of waveforms (batch, samples)."""
    return F.conv1d(waveform.unsqueeze(1), filters(), stride=HOP).relu().transpose(1, 2)


def build(
    shape: Sizes = ("batch", "samples"), metadata: Mapping[str, str] | None = None, kind: int = FLOAT,
    outputs: Sequence[str] = ("clip", "frames", "logits"), extra: Sequence[Any] = (), inputs: Sequence[Any] = (),
) -> onnx.ModelProto:  # fmt: skip
    """Return a model. Its tensors are clip, frames, logits, "maps" (batch, dim, time) and those of `extra` nodes."""
    rank = 2 if shape is None else len(shape)
    constants = {
        "filters": filters().numpy(), "head": np.linspace(-1, 1, DIM * 3, dtype=np.float32).reshape(DIM, 3),
        "as_maps": np.array(TO_BATCH_1_SAMPLES.get(rank, [0, 1, -1])), "last": np.array([2]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["waveform"], ["floating"], to=FLOAT),
        helper.make_node("Reshape", ["floating", "as_maps"], ["sound"]),
        helper.make_node("Conv", ["sound", "filters"], ["filtered"], strides=[HOP]),
        helper.make_node("Relu", ["filtered"], ["maps"]),
        helper.make_node("Transpose", ["maps"], ["frames"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["maps", "last"], ["clip"], keepdims=0),
        helper.make_node("MatMul", ["clip", "head"], ["logits"]),
        *extra,
    ]
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info("waveform", kind, shape), *inputs],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    return model


def save(folder: Path, model: onnx.ModelProto, name: str = "tiny.onnx") -> str:
    (folder / name).write_bytes(model.SerializeToString())
    return str(folder / name)
