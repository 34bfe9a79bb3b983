"""A tiny classifier and its ONNX file, for the tests of what runs without PyTorch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from distill.runtimes.graph import graph_of
from distill.runtimes.onnx_file import write_onnx_file
from distill.students.heads import Classifier, Head
from distill.students.saved import save_student
from distill.students.student import Student
from tests.students.tiny import tiny_student

LABELS = ("bird", "rain", "car")


@cache
def exported_classifier() -> tuple[Student, Path, Path]:
    """Return a student that standardises before its head, its folder and its ONNX file, which are made once."""
    torch.manual_seed(0)
    student, folder = tiny_student("cnn").eval(), Path(mkdtemp(prefix="exported"))
    student.labels = LABELS
    head = Head(student.clip_dim, 3, torch.randn(student.clip_dim), torch.rand(student.clip_dim) + 0.5)
    student.classifier = Classifier("many", head, 2.5, (0.2, 0.5, 0.6), 0.4)
    save_student(student, folder / "student", "card")
    write_onnx_file(graph_of(student), folder / "student.onnx")
    return student, folder / "student", folder / "student.onnx"
