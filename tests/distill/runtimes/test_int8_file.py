"""A student as an ONNX file in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.runtimes import int8_file
from distill.runtimes.formats import write_int8_student
from distill.students.student import Student


class Bands(Student):
    """A front-end, which ends in a logarithm, and two layers."""

    sample_rate = 1_600

    def __init__(self) -> None:
        super().__init__()
        self.front_end = nn.Conv1d(1, 8, 64, stride=32)
        self.layers = nn.Sequential(nn.Conv1d(8, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 6, 1))

    def encode(self, batch: AudioBatch) -> Embeddings:
        mel = (self.front_end(batch.waveform.unsqueeze(1)).square() + 1e-3).log()
        return Embeddings.of_clip(self.layers(mel).mean(2))


def clips(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(1)
    return [generator.normal(0, 0.2, (1, 1_600)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("int8") / "x.onnx"
    return path, write_int8_student(Bands(), path, clips(8), clips(12)[8:])


def test_only_the_layers_after_the_front_end_have_int8_weights(written: tuple[Path, str]) -> None:
    model = onnx.load(written[0])
    kinds = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in model.graph.initializer}
    int8 = [dims for kind, dims in kinds.values() if kind == onnx.TensorProto.INT8 and len(dims) == 3]
    assert sorted(int8) == [[6, 16, 1], [16, 8, 1]]
    assert (onnx.TensorProto.FLOAT, [8, 1, 64]) in kinds.values()
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    scales = [dims for name, (_, dims) in kinds.items() if "weight" in name and name.endswith("scale")]
    assert sorted(scales) == [[6], [16]]  # one for each channel


def test_the_file_is_near_float32_and_states_what_it_is(written: tuple[Path, str]) -> None:
    path, line = written
    assert "calibrated on 8 clips; on 4 others" in line
    torch.manual_seed(0)
    student = Bands().eval()
    waveform = torch.randn(3, 4_000) * 0.2  # another batch and length than those of the calibration
    found = int8_file.run_onnx_file(path)(waveform.numpy())["clip"]
    expected = student.embed(waveform, 1_600).clip.numpy()
    assert 0 < np.abs(found - expected).max() / np.abs(expected).max() < 0.02
    stated = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (stated["sample_rate"], stated["quantisation"]) == ("1600", "int8")
    assert [file.name for file in path.parent.iterdir()] == ["x.onnx"]


def test_a_large_error_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_file, "MAX_ERROR", 1e-6)
    with pytest.raises(UserError, match="--int8: 'clip' differs from float32 by"):
        write_int8_student(Bands(), tmp_path / "x.onnx", clips(4), clips(4))
    assert not list(tmp_path.iterdir())


def test_a_graph_without_a_logarithm_has_no_front_end() -> None:
    node = onnx.helper.make_node("Relu", ["a"], ["b"], "relu")
    graph = onnx.helper.make_graph([node], "g", [], [])
    assert int8_file.front_end_nodes(onnx.helper.make_model(graph)) == []
