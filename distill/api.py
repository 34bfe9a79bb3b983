"""What is called from Python beside the commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill.losses import LOSSES
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.students.saved import load_student
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


def load(source: str, allow_import: str | None = None) -> Student:
    """Load a trained student from a run folder, a student folder or a hub id; see `students.saved.load_student`."""
    return load_student(source, allow_import)


def create_teacher(name: str | type[Teacher], /, **options: Any) -> Teacher:
    """Build a teacher from a registered name, an import path or a class. Raises UserError."""
    return TEACHERS.create(name, **options)


def create_student(name: str | type[Student], /, **options: Any) -> Student:
    """Build a student from a registered name, an import path or a class. Raises UserError."""
    return STUDENTS.create(name, **options)


def list_teachers(pattern: str = "*") -> list[str]:
    """Names of teachers that match a glob."""
    return TEACHERS.names(pattern)


def list_students(pattern: str = "*") -> list[str]:
    """Names of students that match a glob."""
    return STUDENTS.names(pattern)


def register_teacher(name: str) -> Callable[[Any], Any]:
    """Make a `Teacher` class known as `name`. Decorator."""
    return TEACHERS.register(name)


def register_student(name: str) -> Callable[[Any], Any]:
    """Make a `Student` class known as `name`. Decorator."""
    return STUDENTS.register(name)


def register_objective(name: str) -> Callable[[Any], Any]:
    """Make an `Objective` class known as `name`. Decorator."""
    return OBJECTIVES.register(name)


def register_loss(name: str) -> Callable[[Any], Any]:
    """Make a function of (prediction, target) known as the loss `name`. Decorator."""
    return LOSSES.register(name)
