"""A student as a TensorFlow Lite file: with LiteRT itself if it is installed (`make exports`), else with a stand-in."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from distill.data.errors import UserError
from distill.runtimes import tflite_file
from distill.runtimes.graph import graph_of
from distill.runtimes.tflite_file import run_tflite_file, write_tflite_file
from distill.teachers.tflite_metadata import read_metadata
from tests.distill.runtimes.test_onnx_file import Undecomposed
from tests.students.tiny import tiny_student
from tests.teachers.tflite_files import build

ORDER = (1, 0)  # of the outputs in the file of the stand-in
_REAL = find_spec("litert_torch") is not None


class Converted:
    """What the stand-in makes of a module: a file of another network, which only its interpreter reads."""

    def __init__(self, module: torch.nn.Module, example: torch.Tensor) -> None:
        self.module, self.example = module, example

    def export(self, path: str) -> None:
        Path(path).write_bytes(build())


class Interpreter:
    def __init__(self, converted: Converted) -> None:
        self.module, self.shape = converted.module, tuple(converted.example.shape)
        self.found: list[torch.Tensor] = []

    def allocate_tensors(self) -> None: ...

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"name": "waveform", "index": 9}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"name": f"serving_default_output_{number}_output", "index": number} for number in ORDER]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        assert (index, value.shape) == (9, self.shape)
        self.waveform = torch.from_numpy(value)

    def invoke(self) -> None:
        self.found = list(self.module(self.waveform))

    def get_tensor(self, index: int) -> np.ndarray:
        return self.found[index].detach().numpy()


@pytest.fixture(autouse=True)
def litert(monkeypatch: pytest.MonkeyPatch) -> None:
    if _REAL:
        return
    made: list[Converted] = []

    def convert(module: torch.nn.Module, args: tuple[torch.Tensor]) -> Converted:
        if isinstance(module.student, Undecomposed):
            raise RuntimeError("Lowering not found: aten._linalg_eigh.default\nand more")
        made.append(Converted(module, args[0]))
        return made[-1]

    progress = SimpleNamespace(config=SimpleNamespace(show_progress=True))
    monkeypatch.setitem(sys.modules, "litert_torch", SimpleNamespace(convert=convert, progress=progress))
    monkeypatch.setattr(tflite_file, "_interpreter", lambda _: Interpreter(made[-1]))


def test_takes_one_clip_and_states_the_names_of_the_outputs(tmp_path: Path) -> None:
    graph, path = graph_of(tiny_student("cnn"), seconds=0.5), tmp_path / "x.tflite"
    write_tflite_file(graph, path)
    waveform = torch.randn(1, 16_000) * 0.1
    with torch.no_grad():
        clip, frames = graph.module(waveform)
    found = run_tflite_file(path, graph)(waveform.numpy())
    assert list(found) == ["clip", "frames"]
    np.testing.assert_allclose(found["clip"], clip.numpy(), atol=1e-4)
    np.testing.assert_allclose(found["frames"], frames.numpy(), atol=1e-4)
    stated = read_metadata(path.read_bytes(), "here")
    assert stated["output"] == "serving_default_output_0_output"
    assert stated["frames"] == "serving_default_output_1_output"
    assert (stated["name"], stated["sample_rate"], stated["window_seconds"]) == ("cnn", "32000", "0.5")


def test_a_refused_operator_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"LiteRT refuses the student .*linalg_eigh") as raised:
        write_tflite_file(graph_of(Undecomposed(), seconds=0.5), tmp_path / "x.tflite")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_outputs_are_ordered_by_number() -> None:
    names = [f"serving_default_output_{number}_output" for number in (10, 2, 0)]
    interpreter = SimpleNamespace(get_output_details=lambda: [{"name": name} for name in names])
    assert tflite_file._outputs(interpreter) == names[::-1]
