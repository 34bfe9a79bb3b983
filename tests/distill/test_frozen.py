"""A student as a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import distill
from distill.students.saved import save_student
from tests.teachers.tiny import TinyTeacher


def save_tiny_student(folder: Path) -> dict[str, Any]:
    save_student(distill.create_student("mobilenet_v3", width=0.1), folder / "student", "card")
    return {"student": str(folder / "student")}


def test_a_frozen_student_is_a_copy() -> None:
    student = distill.create_student("mobilenet_v3", width=0.1)
    teacher = distill.create_teacher("frozen", student=student)
    student.train()
    teacher.embed(torch.randn(16_000), 16_000)
    assert student.training
    assert all(parameter.requires_grad for parameter in student.parameters())
    assert not any(module.training for module in teacher.modules())


TINY = TinyTeacher(save_tiny_student)
