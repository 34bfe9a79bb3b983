"""Tables of an exported classifier are those of the classifier in PyTorch, and need few packages."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distill
from distill.data.errors import UserError
from distill.run.exported_scores import ExportedScorer
from distill.runtimes.graph import graph_of
from distill.runtimes.onnx_file import write_onnx_file
from tests.exported import exported_classifier
from tests.students.tiny import tiny_student

INSTALLED = {
    "numpy",
    "soundfile",
    "_soundfile",
    "_soundfile_data",
    "cffi",
    "_cffi_backend",
    "pycparser",
    "onnxruntime",
    "flatbuffers",
}
INSTALLED |= {"typing_extensions", "packaging", "google", "sympy", "mpmath", "distill"}
SCRIPT = """
import importlib.metadata, json, sys
installed, words = json.loads(sys.argv[1])
for name in {*importlib.metadata.packages_distributions()} - set(installed):
    sys.modules[name] = None  # as if it was not installed
import distill
student = distill.ExportedStudent(words[2])
print(student.embed(__import__("numpy").zeros(9_000, "float32"), 16_000).clip.shape)
from distill.cli.shell import main
main(words)
try:
    main(["fit", "--data", words[4]])
except SystemExit as error:
    assert error.code == 2
assert "torch" not in [name for name, module in sys.modules.items() if module is not None]
"""


def table(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "options", [{"scores": "all"}, {"windows": 0.2, "scores": "all"}, {"windows": True}, {"threshold": 0.45}]
)
def test_the_table_is_that_of_pytorch(sounds: Callable[..., Path], tmp_path: Path, options: dict[str, Any]) -> None:
    data, (_, folder, file) = sounds(6), exported_classifier()
    (data / "class0" / "broken.wav").write_bytes(b"no sound")
    made = [
        distill.predict(str(model), str(data), str(tmp_path / f"{name}.csv"), device="cpu", batch_size=4, **options)
        for name, model in (("torch", folder), ("onnx", file))
    ]
    assert (made[0].rows, made[0].clips) == (made[1].rows, made[1].clips)
    expected, found = (table(result.path) for result in made)
    assert len(expected) > 6
    for row, other in zip(expected, found, strict=True):
        for cell, value in zip(row, other, strict=True):
            if cell != value:
                assert float(value) == pytest.approx(float(cell), abs=1e-4)
    assert (tmp_path / "onnx.set_aside.csv").read_text() == (tmp_path / "torch.set_aside.csv").read_text()


def test_a_night_is_scored_without_pytorch(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, (_, folder, file) = sounds(2), exported_classifier()
    words = ["predict", "--model", str(file), "--data", str(data), "--windows", "0.2", "--scores=all"]
    given = json.dumps([sorted(INSTALLED), [*words, "--out", str(tmp_path / "x.csv")]])
    ended = subprocess.run([sys.executable, "-c", SCRIPT, given], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "(1, " in ended.stdout
    assert ended.stderr.startswith("distill: error: PyTorch is not installed: pip install audio-distill;")
    distill.predict(str(folder), str(data), str(tmp_path / "y.csv"), windows=0.2, scores="all", device="cpu")
    found, expected = (np.array([row[1:] for row in table(tmp_path / name)[1:]], float) for name in ("x.csv", "y.csv"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_student_without_classes_is_refused(tmp_path: Path) -> None:
    write_onnx_file(graph_of(tiny_student("cnn")), tmp_path / "x.onnx")
    with pytest.raises(UserError, match="no classes"):
        ExportedScorer.load(str(tmp_path / "x.onnx"), 16)
