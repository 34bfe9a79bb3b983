"""Inputs and outputs of files of torch.export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.data.errors import UserError
from distill.teachers.exported_graph import ExportedGraph
from tests.teachers.exported_files import FREE, Tiny, changed, expected_frames, export, save


def opened(folder: Path, content: bytes) -> ExportedGraph:
    return ExportedGraph(Path(save(folder, content)), "here")


def test_outputs_have_the_keys_of_a_dictionary(tmp_path: Path) -> None:
    graph = opened(tmp_path, changed())
    assert (
        graph.listed() == "1 input: waveform float32 (?, ?); 2 outputs: clip float32 (?, 6), frames float32 (?, ?, 6)"
    )


class Several(nn.Module):
    """Takes more than samples, and returns a tuple."""

    def forward(self, sr: Tensor, waveform: Tensor, scale: float, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return waveform.mean(1, keepdim=True) * sr * scale, (waveform > 0).sum(1)


def test_other_inputs_and_outputs_without_names(tmp_path: Path) -> None:
    graph = opened(
        tmp_path, export(Several(), torch.tensor(1), torch.zeros(2, 100), 0.5, free=(None, (FREE, FREE), None))
    )
    assert [port.name for port in graph.inputs] == ["sr", "waveform"]
    clip, count = (port.name for port in graph.outputs)
    graph.open([clip], "waveform", 16_000)
    assert graph.run(np.ones((1, 4), np.float32))[0].tolist() == [[8000.0]]
    with pytest.raises(UserError, match=f"'{count}' has torch.int64, not floating-point numbers"):
        graph.open([count], "waveform", 16_000).run(np.ones((1, 4), np.float32))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int16], ids=str)
def test_an_input_of_other_numbers_is_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    class Magnitude(nn.Module):
        def forward(self, waveform: Tensor) -> Tensor:
            return waveform.abs().float()

    graph = opened(tmp_path, export(Magnitude(), torch.zeros(2, 100, dtype=dtype)))
    with pytest.raises(
        UserError, match=rf"must take floating-point samples; it has 1 input: waveform {str(dtype)[6:]}"
    ):
        graph.sound_input()


def test_an_inner_tensor_by_its_name_in_the_graph(tmp_path: Path) -> None:
    waveform = torch.randn(2, 3000)
    found = opened(tmp_path, changed()).open(["transpose", "clip"]).run(waveform.numpy())
    torch.testing.assert_close(torch.from_numpy(found[0]), expected_frames(waveform))
    torch.testing.assert_close(torch.from_numpy(found[1]), expected_frames(waveform).mean(1))


def test_a_network_that_changes_its_weights_is_refused(tmp_path: Path) -> None:
    class Counting(Tiny):
        def forward(self, waveform: Tensor) -> dict[str, Tensor]:
            self.one.add_(1)
            return super().forward(waveform)

    def in_place(model: Any) -> None:
        nodes = model["graph_module"]["graph"]["nodes"]
        node = next(node for node in nodes if node["target"] == "torch.ops.aten.mul.Tensor")
        node["target"] = "torch.ops.aten.add_.Tensor"
        node["inputs"] = [{**entry, "arg": node["inputs"][1]["arg"]} for entry in node["inputs"]]

    for content in (export(Counting().eval(), torch.zeros(2, 3000)), changed(model=in_place)):
        graph = opened(tmp_path, content).open(["clip"])
        with pytest.raises(UserError, match=r"changes its weights .*: export it after model.eval\(\)"):
            graph.run(np.zeros((1, 3000), np.float32))


def test_an_input_that_needs_code_is_refused(tmp_path: Path) -> None:
    def token(model: Any) -> None:
        model["graph_module"]["signature"]["input_specs"].append({"custom_obj": {"arg": {}}})

    with pytest.raises(UserError, match="has an input of kind custom_obj"):
        opened(tmp_path, changed(model=token))


@pytest.mark.parametrize("key", ["graph", "signature", "module_call_graph"])
def test_a_damaged_graph_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="here: is damaged"):
        opened(tmp_path, changed(model=lambda model: model["graph_module"].pop(key)))
