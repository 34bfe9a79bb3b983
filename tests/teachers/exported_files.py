"""Tiny files of torch.export: the waveform becomes frames of 20 ms by one convolution, and their mean is the clip."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.teachers.onnx_files import DIM, HOP, RATE, expected_frames, filters

FREE = torch.export.Dim.AUTO
STATED = {"sample_rate": str(RATE), "output": "clip", "frames": "frames"}


class Tiny(nn.Module):
    """Returns clip and frames of waveforms (batch, samples)."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Parameter(filters())
        self.register_buffer("one", torch.ones(1))

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        frames = F.conv1d(waveform.unsqueeze(1), self.filters, stride=HOP).relu().transpose(1, 2)
        return {"clip": frames.mean(1) * self.one, "frames": frames}


def export(
    network: nn.Module, *inputs: Any, free: Any = ((FREE, FREE),), extra: Mapping[str, str] | None = None
) -> bytes:
    """Return the file of a network in evaluation mode. `free` are the dynamic shapes of its inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about weights of recurrent layers
        program = torch.export.export(network, inputs, dynamic_shapes=free)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=dict(extra or {}))
    return file.getvalue()


@cache
def build() -> bytes:
    """Return the file of `Tiny`, for any batch and any length."""
    return export(Tiny().eval(), torch.zeros(2, RATE), extra=STATED)


def changed(
    members: Mapping[str, bytes | None] | None = None, model: Callable[[Any], object] | None = None,
    config: Callable[[Any], object] | None = None,
) -> bytes:  # fmt: skip
    """Return the file of `build` with changes.

    Args:
        members: Content by name, which replaces or adds members. None: the member is removed.
        model: Changes the graph in place.
        config: Changes the list of the weights in place.
    """
    file = io.BytesIO()
    edits = {"models/model.json": model, "data/weights/model_weights_config.json": config}
    with zipfile.ZipFile(io.BytesIO(build())) as before, zipfile.ZipFile(file, "w") as after:
        contents: dict[str, bytes | None] = {name.partition("/")[2]: before.read(name) for name in before.namelist()}
        for name, content in (contents | dict(members or {})).items():
            if (edit := edits.get(name)) is not None and content is not None:
                content = json.dumps(edited(json.loads(content), edit)).encode()
            if content is not None:
                after.writestr(f"x/{name}", content)
    return file.getvalue()


def edited(value: Any, edit: Callable[[Any], object]) -> Any:
    edit(value)
    return value


def node_of(model: Any, target: str) -> Any:
    """Return the first node of an operator, such as "relu.default"."""
    return next(
        node for node in model["graph_module"]["graph"]["nodes"] if node["target"] == f"torch.ops.aten.{target}"
    )


def save(folder: Path, content: bytes, name: str = "tiny.pt2") -> str:
    (folder / name).write_bytes(content)
    return str(folder / name)


__all__ = ["DIM", "RATE", "Tiny", "build", "changed", "expected_frames", "export", "node_of", "save"]
