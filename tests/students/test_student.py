"""What a student inherits where it sets nothing."""

from __future__ import annotations

import inspect

from distill.students import STUDENTS
from distill.students.student import Student
from distill.training.optimizer import Optimizer, parameter_groups
from tests.distill.objectives.test_objective import TwoLosses
from tests.own_parts import TinyConvolution
from tests.students.tiny import STUDENT_NAMES


def test_a_student_without_blocks_has_one_learning_rate() -> None:
    student = TinyConvolution()
    assert {student.layer_depth(name) for name, _ in student.named_parameters()} == {0}
    groups = parameter_groups(TwoLosses(), Optimizer(learning_rate=0.25, layer_decay=0.5))
    assert {group["lr"] for group in groups} == {0.25}


def test_progress_changes_nothing_and_teachers_are_those_of_the_instance() -> None:
    one, other = TinyConvolution(), TinyConvolution()
    before = {name: tensor.clone() for name, tensor in one.state_dict().items()}
    one.on_progress(0.5)
    assert all(tensor.equal(before[name]) for name, tensor in one.state_dict().items())
    one.teachers = {"spectral": "digest"}
    assert (other.teachers, Student.teachers) == ({}, {})


def test_the_attributes_of_a_class_agree_with_the_options_of_its_constructor() -> None:
    for name in STUDENT_NAMES:
        kind = STUDENTS.find(name)
        assert isinstance(kind, type)
        assert issubclass(kind, Student)
        options = inspect.signature(kind).parameters.keys()
        assert set(kind.initial_weights) - {"checkpoint"} <= options, name
        assert ("classes" in options) == kind.takes_classes, name
