"""A student as a program of ExecuTorch: with ExecuTorch itself if it is installed (`make exports`), else a stand-in."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import ExportedProgram

from distill.data.errors import UserError
from distill.runtimes import pte_file
from distill.runtimes.graph import graph_of
from distill.runtimes.pte_file import run_pte_file, write_pte_file
from tests.distill.runtimes.test_onnx_file import Undecomposed
from tests.students.tiny import tiny_student

_REAL = find_spec("executorch") is not None


class Lowered:
    """The stand-in's program: that of torch.export, which its runtime runs."""

    buffer = b"program"
    constants: dict[str, str]
    program: ExportedProgram

    def to_executorch(self) -> Lowered:
        return self


def lower(program: ExportedProgram, partitioner: list[object], constant_methods: dict[str, str]) -> Lowered:
    targets = {str(node.target) for node in program.graph.nodes}
    if any("linalg_eig" in target for target in targets):
        try:
            raise ValueError("Operator aten._linalg_eigh.default is not in Core ATen opset\nand more")
        except ValueError as error:
            raise RuntimeError("An error occurred when running a pass") from error
    # XNNPACK refuses other orders of the weights.
    assert all(weight.is_contiguous() for weight in program.state_dict.values())
    Lowered.program, Lowered.constants = program, constant_methods
    return Lowered()


class Method:
    def execute(self, inputs: list[Any]) -> list[torch.Tensor]:
        return [value.detach() for value in Lowered.program.module()(*inputs)]


class Runtime:
    @staticmethod
    def get() -> Runtime:
        return Runtime()

    def load_program(self, path: Path) -> Runtime:
        assert path.read_bytes() == Lowered.buffer
        return self

    def load_method(self, name: str) -> Method:
        assert name == "forward"
        return Method()


@pytest.fixture(autouse=True)
def executorch(monkeypatch: pytest.MonkeyPatch) -> None:
    if _REAL:
        return
    modules = {
        "executorch": {},
        "executorch.backends": {},
        "executorch.backends.xnnpack": {},
        "executorch.backends.xnnpack.partition": {},
        "executorch.backends.xnnpack.partition.xnnpack_partitioner": {"XnnpackPartitioner": object},
        "executorch.exir": {"to_edge_transform_and_lower": lower},
        "executorch.runtime": {"Runtime": Runtime},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(pte_file, "version", lambda _: "9.9")


def test_takes_one_clip_of_the_fixed_length(tmp_path: Path) -> None:
    student = tiny_student("cnn")  # whose weights are not contiguous
    graph, path = graph_of(student, seconds=0.5), tmp_path / "x.pte"
    write_pte_file(graph, path)
    waveform = torch.randn(1, 16_000) * 0.1
    with torch.no_grad():
        clip, frames = graph.module(waveform)
    found = run_pte_file(path, graph)(waveform.numpy())
    assert list(found) == ["clip", "frames"]
    np.testing.assert_allclose(found["clip"], clip.numpy(), atol=1e-4)
    np.testing.assert_allclose(found["frames"], frames.numpy(), atol=1e-4)
    assert not all(weight.is_contiguous() for weight in student.parameters())  # the user's student is as it was


def test_methods_state_the_metadata(tmp_path: Path) -> None:
    graph, path = graph_of(tiny_student("cnn"), seconds=0.5), tmp_path / "x.pte"
    write_pte_file(graph, path)
    if _REAL:
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(path)
        assert program.load_method("sample_rate").execute([]) == ["32000"]
    else:
        assert Lowered.constants == dict(graph.metadata)


def test_a_refused_operator_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ExecuTorch refuses the student .*linalg_eigh") as raised:
        write_pte_file(graph_of(Undecomposed(), seconds=0.5), tmp_path / "x.pte")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_pair_that_loads_no_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("undefined symbol: x")

    monkeypatch.setattr(sys.modules["executorch.runtime"].Runtime, "get", staticmethod(fail))
    with pytest.raises(UserError, match=r"with torch .* loads no program .*audio-distill\[pte\]"):
        run_pte_file(tmp_path / "x.pte", graph_of(tiny_student("cnn"), seconds=0.5))
