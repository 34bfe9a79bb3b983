"""A student as a model of OpenVINO, with a stand-in for the package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from distill.data.errors import UserError
from distill.runtimes.graph import graph_of
from distill.runtimes.openvino_file import write_openvino_file
from tests.distill.runtimes.test_onnx_file import Loudness


class Model:
    def __init__(self, source: Path) -> None:
        self.content, self.stated = source.read_bytes(), {}

    def set_rt_info(self, text: str, where: list[str]) -> None:
        self.stated[tuple(where)] = text


def test_writes_float32_with_the_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {}

    def save_model(model: Model, path: Path, compress_to_fp16: bool) -> None:
        saved.update(model.stated, fp16=compress_to_fp16)
        path.write_bytes(model.content)

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(convert_model=Model, save_model=save_model))
    write_openvino_file(graph_of(Loudness()), tmp_path / "x.xml")
    assert saved["fp16"] is False
    assert saved["audio_distill", "sample_rate"] == "16000"
    assert [file.name for file in tmp_path.iterdir()] == ["x.xml"]


def test_a_refused_operator_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path) -> None:
        raise RuntimeError("No conversion rule found for operations: STFT\nand more")

    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(convert_model=refuse))
    with pytest.raises(UserError, match="STFT") as raised:
        write_openvino_file(graph_of(Loudness()), tmp_path / "x.xml")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
