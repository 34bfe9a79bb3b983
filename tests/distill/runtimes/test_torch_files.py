"""A student as files of PyTorch."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

import distill
from distill.runtimes.formats import write_student
from tests.students.tiny import tiny_student


def test_a_program_is_a_teacher_without_other_options(tmp_path: Path) -> None:
    student = tiny_student("cnn").eval()
    assert "differs from PyTorch by at most" in write_student(student, tmp_path / "x.pt2")
    assert (tmp_path / "x.pt2").stat().st_size < 2e6  # the example of the trace has 5 MB
    teacher = distill.create_teacher("exported", checkpoint=str(tmp_path / "x.pt2"))
    waveform = torch.randn(2, 32_000) * 0.1
    found, expected = (encoder.embed(waveform, 32_000).clip for encoder in (teacher, student))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_weights_have_the_metadata_of_the_student(tmp_path: Path) -> None:
    student = tiny_student("cnn").eval()
    assert "differs from PyTorch by at most" in write_student(student, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata()["name"] == "cnn"
        assert {f"student.{key}" for key in student.state_dict()} == set(file.keys())
