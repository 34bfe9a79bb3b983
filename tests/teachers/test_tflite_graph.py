"""TensorFlow Lite files that are refused: each by one line."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from distill.cli.shell import main
from distill.data.errors import UserError
from distill.teachers.tflite_graph import TfliteGraph
from tests.teachers.tflite_files import LOG, build, save
from tests.teachers.tiny import RunsCode

BAD: dict[str, tuple[bytes, str]] = {
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "is not a TensorFlow Lite file"),
    "nothing": (b"", "is not a TensorFlow Lite file"),
    "a pickle": (pickle.dumps(RunsCode()), "is not a TensorFlow Lite file"),
    "cut off": (build()[:60], "LiteRT cannot load it"),
    "version of an operator": (build(version=99), "LiteRT cannot load it (Didn't find op"),
    "custom operator": (build(last="Foo"), "unresolved custom op: Foo"),
    "complex input": (build(kind="complex64"), "waveform complex64"),
    "integer input": (build(kind="int16"), "waveform int16"),
    "two inputs": (build(others={"sr": "int32"}), "--teacher.input NAME must name it; it has 2 inputs: sr int32"),
    "NaN": (build(last=LOG), "'clip' has NaN or infinite numbers"),
    "weights in other files": (build(external=True), "its weights lie in other files"),
    "damaged metadata": (build(metadata=b"\xff" * 16), "its metadata cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = BAD[name]
    path = save(tmp_path, content, "bad.tflite")
    words = ["--teacher", "tflite", "--teacher.checkpoint", path, "--teacher.sample_rate", "16000"]
    with pytest.raises(SystemExit) as ended:
        main(["embed", *words, "--teacher.output", "clip", "--data", str(tmp_path), "--out", str(tmp_path / "s")])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert path in lines[0]
    assert not Path("RAN").exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"pip install 'audio-distill\[tflite\]'"):
        TfliteGraph(Path(save(tmp_path, build())), "here")


def test_the_length_may_change_and_inner_tensors_are_kept(tmp_path: Path) -> None:
    path = Path(save(tmp_path, build()))
    graph = TfliteGraph(path, "here").open(["images", "clip"])
    again = TfliteGraph(path, "here").open(["clip"])
    random = np.random.default_rng(0)
    for samples in (9_000, 16_000, 9_000):
        waveform = random.standard_normal((1, samples), dtype=np.float32)
        images, clip = graph.run(waveform)
        assert np.array_equal(images[:, 0, :, 0], waveform)
        assert np.array_equal(clip, again.run(waveform)[0])


def test_a_graph_goes_on_after_an_input_that_it_cannot_take(tmp_path: Path) -> None:
    graph = TfliteGraph(Path(save(tmp_path, build((1, 32_000)))), "here").open(["clip"])
    waveform = np.ones((1, 32_000), np.float32)
    expected = graph.run(waveform)[0]
    with pytest.raises(UserError, match=r"here: cannot be computed for \(1, 9000\)"):
        graph.run(waveform[:, :9000])
    assert np.array_equal(graph.run(waveform)[0], expected)


def test_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tensor 'nowhere'; 1 input: waveform float32 \(1, \?\); 2 outputs: frames"):
        TfliteGraph(Path(save(tmp_path, build())), "here").open(["nowhere"])
