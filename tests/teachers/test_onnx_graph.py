"""ONNX files that are refused: each by one line."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from distill.cli.shell import main
from distill.data.errors import UserError
from distill.data.files import file_digest
from distill.teachers.onnx_graph import OnnxGraph
from tests.teachers.onnx_files import FLOAT, build, save
from tests.teachers.tiny import RunsCode


def in_opset(version: int) -> onnx.ModelProto:
    model = build()
    model.opset_import[0].version = version
    return model


def of_ir(version: int) -> onnx.ModelProto:
    model = build()
    model.ir_version = version
    return model


def custom(inside_branch: bool) -> onnx.ModelProto:
    node = helper.make_node("Foo", ["clip"], ["own"], domain="com.somebody")
    if inside_branch:
        result = [helper.make_tensor_value_info("own", FLOAT, None)]
        true = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("", TensorProto.BOOL, [], [True]))
        branch = helper.make_graph([node], "branch", [], result)
        return build(extra=[true, helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)])
    return build(extra=[node])


def with_weights_in(file: str) -> onnx.ModelProto:
    model = build()
    head = next(tensor for tensor in model.graph.initializer if tensor.name == "filters")
    onnx.external_data_helper.set_external_data(head, file)
    head.ClearField("raw_data")
    return model


def with_constant_in(file: str) -> onnx.ModelProto:
    tensor = numpy_helper.from_array(np.ones(1, np.float32))
    onnx.external_data_helper.set_external_data(tensor, file)
    return build(extra=[helper.make_node("Constant", [], ["stored"], value=tensor)])


STATED = {"sample_rate": "16000", "output": "clip"}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "text": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "is not an ONNX file"),
    "nothing": (lambda: b"", "is not an ONNX file"),
    "zip": (lambda: b"PK\x03\x04" + bytes(200), "is not an ONNX file"),
    "a pickle": (lambda: pickle.dumps(RunsCode()), "is not an ONNX file"),
    "cut off": (lambda: build().SerializeToString()[:-4000], "is not an ONNX file"),
    "opset": (lambda: in_opset(99).SerializeToString(), "of opset 99"),
    "ir version": (lambda: of_ir(99).SerializeToString(), "cannot load it"),
    "custom operator": (lambda: custom(False).SerializeToString(), "custom operator com.somebody:Foo"),
    "custom operator in a branch": (lambda: custom(True).SerializeToString(), "custom operator com.somebody:Foo"),
    "operator that does not exist": (
        lambda: build(extra=[helper.make_node("Foo", ["clip"], ["own"])]).SerializeToString(), "cannot load it",
    ),
    "code as an operator": (
        lambda: build(
            extra=[helper.make_node("PythonOp", ["clip"], ["own"], domain="com.microsoft")]
        ).SerializeToString(),
        "custom operator com.microsoft:PythonOp",
    ),
    "complex input": (lambda: build(kind=TensorProto.COMPLEX64).SerializeToString(), "waveform complex64"),
    "integer input": (lambda: build(kind=TensorProto.INT16).SerializeToString(), "waveform int16"),
    "two inputs": (
        lambda: build(inputs=[helper.make_tensor_value_info("sr", TensorProto.INT64, [])]).SerializeToString(),
        "one input, of samples",
    ),
    "weights by an absolute path": (lambda: with_weights_in("/etc/passwd").SerializeToString(), "outside the folder"),
    "weights above": (lambda: with_weights_in("a/../../w.bin").SerializeToString(), "outside the folder"),
    "weights by a path of Windows": (lambda: with_weights_in("..\\w.bin").SerializeToString(), "outside the folder"),
    "weights on a drive": (lambda: with_weights_in("C:\\w.bin").SerializeToString(), "outside the folder"),
    "a constant above": (lambda: with_constant_in("../w.bin").SerializeToString(), "outside the folder"),
    "weights that are missing": (lambda: with_weights_in("w.bin").SerializeToString(), "w.bin"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = BAD[name]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content())
    words = ["--teacher", "onnx", "--teacher.checkpoint", str(path), "--teacher.sample_rate", "16000"]
    with pytest.raises(SystemExit) as ended:
        main(["embed", *words, "--teacher.output", "clip", "--data", str(tmp_path), "--out", str(tmp_path / "s")])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert str(path) in lines[0]
    assert not Path("RAN").exists()


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_a_missing_file_and_a_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file|a folder, not a file"):
        OnnxGraph(tmp_path / name, "--teacher.checkpoint x")


def test_weights_in_a_file_beside_are_read_and_named(tmp_path: Path) -> None:
    model = build(metadata=STATED)
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=1000)
    assert (tmp_path / "big.data").stat().st_size > 1000
    graph = OnnxGraph(tmp_path / "big.onnx", "here").open(["clip"])
    assert graph.digests() == {"big.data": file_digest(tmp_path / "big.data")}
    one = OnnxGraph(Path(save(tmp_path, build())), "here").open(["clip"])
    samples = np.random.default_rng(0).standard_normal((2, 16_000), dtype=np.float32)
    assert np.array_equal(graph.run(samples)[0], one.run(samples)[0])


def test_a_copy_computes_the_same_tensors(tmp_path: Path) -> None:
    graph = OnnxGraph(Path(save(tmp_path, build())), "here").open(["maps", "clip"])
    samples = np.random.default_rng(0).standard_normal((2, 16_000), dtype=np.float32)
    for twin in (copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        for ours, others in zip(graph.run(samples), twin.run(samples), strict=True):
            assert np.array_equal(ours, others)


def test_a_tensor_that_is_not_there_or_has_no_numbers(tmp_path: Path) -> None:
    path = Path(save(tmp_path, build(extra=[helper.make_node("Shape", ["clip"], ["sizes"])])))
    with pytest.raises(UserError, match=r"no tensor 'nowhere'; 1 input: waveform float .*; 3 outputs: clip"):
        OnnxGraph(path, "here").open(["nowhere"])
    with pytest.raises(UserError, match=r"'sizes' has int64"):
        OnnxGraph(path, "here").open(["sizes"]).run(np.zeros((1, 16_000), np.float32))
