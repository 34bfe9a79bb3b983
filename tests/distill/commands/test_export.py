"""A student as a graph for other runtimes."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from distill.cli.shell import main
from distill.students.saved import save_student
from tests.students.tiny import STUDENT_NAMES, tiny_student


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_a_student_from_waveform_to_embeddings_at_any_length(name: str, tmp_path: Path) -> None:
    student = tiny_student(name).eval()
    save_student(student, tmp_path / "run" / "student", "card")
    main(["export", "--model", str(tmp_path / "run"), "--out", str(tmp_path / "student.onnx")])
    session = onnxruntime.InferenceSession(str(tmp_path / "student.onnx"))
    rate = student.sample_rate
    for samples in (rate // 2, rate, 50_001):  # one window of HEAR's, several, and a length that nothing divides
        waveform = torch.randn(1, samples) * 0.1
        clip, frames, logits = session.run(None, {"waveform": waveform.numpy()})
        expected = student.embed(waveform, rate)
        torch.testing.assert_close(torch.from_numpy(clip), expected.clip, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(torch.from_numpy(logits), expected.logits, atol=1e-4, rtol=1e-4)
        assert frames.shape == expected.frames.shape


def test_an_export_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--model", "x"], ["--model", "x", "--out", "y.txt"], ["--model", "/nowhere", "--out", "y.onnx"]):
        with pytest.raises(SystemExit) as ended:
            main(["export", *words])
        assert ended.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
