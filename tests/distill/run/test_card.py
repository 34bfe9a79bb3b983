"""The model card: what it states of the parts of a run, and which licences a student inherits."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

import distill
from distill.objectives import OBJECTIVES
from distill.run.card import inherited_licence, model_card
from distill.run.options import FitOptions
from distill.students.student import Student
from tests.own_parts import Loudness, TinyConvolution

OWN = Student.licence


@pytest.fixture
def student() -> Student:
    return distill.create_student(TinyConvolution, channels=5)


def card(student: Student, teacher: distill.Teacher | None = None, results: Any = None) -> str:
    objective = OBJECTIVES.complete(OBJECTIVES.parse("embedding"), given={"student", "teachers"})
    options = FitOptions(teacher, student, "sounds", "run", objective.as_config())
    return model_card(student, {} if teacher is None else {"loud": teacher}, options, results or {}, 1234)


def test_a_card_states_parts_data_and_results(student: Student) -> None:
    teacher = distill.create_teacher(Loudness, bands=2)
    teacher.licence, teacher.source = "CC0", "our own"
    text = card(student, teacher, {"validation loss": 0.25})
    for row in (
        "# tests.own_parts.TinyConvolution, distilled from loud",
        "| teacher | tests.own_parts.Loudness {'bands': 2}, number of parameters unknown |",
        "| licence of the teacher's weights | CC0 |",
        "| source of the teacher | our own |",
        "| data | sounds, 1,234 clips; its own licence applies |",
        "| output | a vector of 5 per clip; 5 per frame",
        "| validation loss | 0.25 |",
    ):
        assert row in text, row
    assert "logits" not in text


def test_the_front_matter_and_the_recipe_are_yaml(student: Student) -> None:
    text = card(student, distill.create_teacher(Loudness))
    front = yaml.safe_load(text.split("---")[1])
    assert front["tags"] == ["audio", "knowledge-distillation", "loud", "tests.own_parts.TinyConvolution"]
    assert front["license_name"] == OWN
    recipe = yaml.safe_load(text.rpartition("```yaml\n")[2].rstrip("`\n"))
    assert FitOptions.from_config(recipe).as_config() == recipe
    assert recipe["student"]["init_args"] == {"channels": 5}


def test_a_student_with_classes_and_without_a_teacher(student: Student) -> None:
    student.labels, student.licence = ("cat", "dog"), "MIT"
    text = card(student)
    assert "| logits | of 2 classes, in the order of `student.labels` |" in text
    assert "# tests.own_parts.TinyConvolution, trained\n" in text
    assert "| none | this run measured none |" in text
    assert yaml.safe_load(text.split("---")[1])["license_name"] == "that of the weights it learned from: MIT"


@pytest.mark.parametrize(
    ("own", "teachers", "expected"),
    [
        (OWN, [], OWN),
        (OWN, ["MIT", "CC0"], "MIT; CC0"),
        ("MIT; BSD", ["MIT; CC0"], "MIT; BSD; CC0"),
        ("MIT", [], "MIT"),
    ],
)
def test_licences_are_those_of_initial_weights_and_teachers(
    own: str, teachers: list[str], expected: str, student: Student
) -> None:
    student.licence = own
    made = []
    for licence in teachers:
        made.append(distill.create_teacher(Loudness))
        made[-1].licence = licence
    assert inherited_licence(student, made) == expected
