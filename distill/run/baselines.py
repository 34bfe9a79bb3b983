"""The baselines of an encoder: mel statistics, the untrained student and the teachers of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.errors import UserError
from distill.evaluation.results import MEL, TEACHER, UNTRAINED
from distill.run.folder import Run
from distill.run.identity import identity
from distill.run.options import FitOptions
from distill.run.quality import mel_statistics
from distill.students.saved import load_student, untrained_student
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.mel import Mel
from distill.teachers.teacher import Teacher


@dataclass(frozen=True)
class Reference:
    """A baseline, before it is scored.

    Args:
        role: "mel statistics", "untrained" or "teacher".
        model: Name of the encoder.
        folder: Name of the folder of its embeddings.
        encoder: Encoder to score.
    """

    role: str
    model: str
    folder: str
    encoder: Encoder


def baselines_of(
    encoder: Encoder, model: str | None, untrained: bool = False, allow_import: str | None = None
) -> list[Reference]:
    """Return the baselines of an encoder: mel statistics first. Print a line for each teacher that is left out.

    Args:
        encoder: Encoder that is scored.
        model: Run folder, student folder or hub id of the encoder. None: it is a teacher.
        untrained: Whether the encoder has random weights, so that it is its own baseline.
        allow_import: Package from which the classes of the student and of its teachers may be imported.
    """
    found = []
    if not isinstance(encoder, Mel):
        name = f"{MEL}, {encoder.sample_rate} Hz"
        found.append(Reference(MEL, name, "embeddings_mel", mel_statistics(encoder)))
    if model is not None and isinstance(encoder, Student):
        if not untrained:
            random = untrained_student(model, allow_import)
            found.append(Reference(UNTRAINED, f"{model}, untrained", "embeddings_untrained", random))
        found.extend(_teachers(encoder, model, allow_import))
    return found


def _teachers(student: Student, model: str, allow_import: str | None) -> Iterator[Reference]:
    """Yield the teachers of a student that can be built from the config.yaml of its run."""
    if not student.teachers:
        return
    try:
        written = FitOptions.from_config(Run(model).config).teachers
    except UserError as error:
        print(f"the teacher {', '.join(student.teachers)} is not a baseline here: {error}")
        return
    for part in written:
        name = _name_of(part)
        try:
            teacher = _build(name, part, student, allow_import)
        except Exception as error:  # a teacher's own code may raise anything, and the probe does not need it
            print(f"the teacher {name} is not a baseline here: {error}")
        else:
            folder = "embeddings_teacher" if len(written) == 1 else f"embeddings_teacher_{Path(name).name}"
            yield Reference(TEACHER, name, folder, teacher)


def teacher_of(model: str, name: str, allow_import: str | None = None) -> Teacher:
    """Build the teacher of a trained student from the config.yaml of its run.

    Args:
        model: Run folder of the student.
        name: Name of the teacher in the run. Empty: the student has only one.
        allow_import: Package from which the classes of the student and of its teacher may be imported.

    Raises:
        UserError: the run does not name the teacher, or the teacher cannot be built as it was.
    """
    student = load_student(model, allow_import)
    written = {_name_of(part).rpartition(".")[2]: part for part in FitOptions.from_config(Run(model).config).teachers}
    if not name and len(written) == 1:
        name = next(iter(written))
    if name not in written:
        known = ", ".join(written) or "none"
        raise UserError(f"--space {name}: must be one of the teachers of {model}, which are: {known}")
    try:
        return _build(_name_of(written[name]), written[name], student, allow_import)
    except UserError as error:
        raise UserError(f"the teacher {name} of {model} cannot be used: {error}") from error


def _name_of(part: Written | Teacher) -> str:
    return str(part.get("class_path")) if isinstance(part, Mapping) else str(part)


def _build(name: str, part: Written | Teacher, student: Student, allow_import: str | None) -> Teacher:
    """Build a teacher that the student learned from.

    Args:
        name: Registered name or import path of the teacher.
        part: The same with its options.
        student: Student that learned from it.
        allow_import: Package from which the class of the teacher may be imported.

    Raises:
        UserError: it is read from a store, its class may not be imported, or its weights are others.
    """
    allowed = allow_import is not None and (name + ".").startswith(allow_import + ".")
    if not allowed and not TEACHERS.is_trusted(name):
        raise UserError(f"its class is not imported; if you trust it: --allow_import {name.partition('.')[0]}")
    teacher = TEACHERS.build(part)
    if teacher.store is not None:
        raise UserError("its embeddings are read from a store")
    if identity(teacher) not in student.teachers.values():
        raise UserError("its options or weights differ from those that the student learned from")
    return teacher
