"""The public functions for Python, in addition to the commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from distill.data.errors import UserError
from distill.losses import LOSSES
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.students.saved import load_student
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


def load(source: str | os.PathLike[str], allow_import: str | None = None) -> Student:
    """Load a trained student.

    Args:
        source: Run folder, student folder or hub id.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Returns:
        The student in evaluation mode.

    Raises:
        UserError: the source holds no student, or its class may not be imported.
    """
    name = os.fspath(source)
    if name.lower().endswith(".onnx"):
        raise UserError(f"{name} is an exported file, which needs no PyTorch: distill.ExportedStudent({name!r})")
    return load_student(name, allow_import)


def create_teacher(name: str | type[Teacher], /, **options: Any) -> Teacher:
    """Build a teacher.

    Args:
        name: Registered name, import path or class.
        options: Arguments of its constructor.

    Raises:
        UserError: the name is unknown, or an option is wrong.
    """
    return TEACHERS.create(name, **options)


def create_student(name: str | type[Student], /, **options: Any) -> Student:
    """Build a student with random weights.

    Args:
        name: Registered name, import path or class.
        options: Arguments of its constructor.

    Raises:
        UserError: the name is unknown, or an option is wrong.
    """
    return STUDENTS.create(name, **options)


def list_teachers(pattern: str = "*") -> list[str]:
    """Return the registered names of teachers that match a glob pattern."""
    return TEACHERS.names(pattern)


def list_students(pattern: str = "*") -> list[str]:
    """Return the registered names of students that match a glob pattern."""
    return STUDENTS.names(pattern)


def register_teacher(name: str) -> Callable[[Any], Any]:
    """Return a decorator that registers a `Teacher` class as `name`."""
    return TEACHERS.register(name)


def register_student(name: str) -> Callable[[Any], Any]:
    """Return a decorator that registers a `Student` class as `name`."""
    return STUDENTS.register(name)


def register_objective(name: str) -> Callable[[Any], Any]:
    """Return a decorator that registers an `Objective` class as `name`."""
    return OBJECTIVES.register(name)


def register_loss(name: str) -> Callable[[Any], Any]:
    """Return a decorator that registers a function of (prediction, target) as the loss `name`."""
    return LOSSES.register(name)
