"""Students with tiny networks, for the tests that must hold for every student."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import distill
from distill.students import STUDENTS
from distill.students.student import Student

STUDENT_NAMES = [name for name in STUDENTS.names() if STUDENTS.location(name) is not None]  # no plugins


@cache
def _all_tiny_options() -> dict[str, dict[str, Any]]:
    """Collect `TINY_OPTIONS` of all test files of students: constructor options by the name of the student."""
    found: dict[str, dict[str, Any]] = {}
    root = Path(__file__).parents[2]
    for file in Path(__file__).parent.rglob("test_*.py"):
        # Imported here and not above, since the test files import this file.
        module = ".".join(file.relative_to(root).with_suffix("").parts)
        found |= getattr(import_module(module), "TINY_OPTIONS", {})
    return found


def tiny_options(name: str) -> dict[str, Any]:
    """Return the tiny options of a student from its own test file. Fail if there are none."""
    options = _all_tiny_options().get(name)
    if options is None:
        pytest.fail(f"no tiny options of the student {name!r}: add TINY_OPTIONS to its test file in tests/students/")
    return options


def tiny_student(name: str) -> Student:
    """Build a student with the tiny options from its own test file. Fail if there are none."""
    return distill.create_student(name, **tiny_options(name))
