"""A student as a graph for other runtimes."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

import distill
from distill.cli import main
from distill.runs import save_student
from tests.students.test_students import OPTIONS


def test_hear_whole_from_waveform_to_logits_at_any_length(tmp_path: Path) -> None:
    student = distill.create_student("hear_classifier", **OPTIONS["hear_classifier"]).eval()
    save_student(student, tmp_path / "run" / "student", "card")
    main(["export", "--model", str(tmp_path / "run"), "--out", str(tmp_path / "hear.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "hear.onnx"))
    for samples in (8_000, 16_000, 50_001):  # one window, several, and a length that nothing divides
        waveform = torch.randn(1, samples) * 0.1
        clip, frames, logits = session.run(None, {"waveform": waveform.numpy()})
        expected = student.embed(waveform, 16_000)
        torch.testing.assert_close(torch.from_numpy(logits), expected.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(torch.from_numpy(clip), expected.clip, atol=1e-3, rtol=1e-3)
        assert frames.shape == expected.frames.shape


def test_an_export_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--model", "x"], ["--model", "x", "--out", "y.txt"], ["--model", "/nowhere", "--out", "y.onnx"]):
        with pytest.raises(SystemExit) as ended:
            main(["export", *words])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
