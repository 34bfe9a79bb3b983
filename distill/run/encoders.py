"""The encoder that a command runs: its choice, its description and its device."""

from __future__ import annotations

import torch

from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.errors import UserError
from distill.evaluation.cost import known_parameters
from distill.students import STUDENTS
from distill.students.saved import load_student, untrained_student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


def encoder_of(
    teacher: Written | Teacher | None,
    model: str | None,
    allow_import: str | None = None,
    untrained: bool = False,
    space: str = "",
) -> Encoder:
    """Return the teacher or the trained student to embed with. Exactly one of the two must be given.

    Args:
        teacher: Teacher: a registered name, an import path, a mapping of one, or an object. None: use `model`.
        model: Trained student: a run folder, a student folder or a hub id. None: use `teacher`.
        allow_import: Package from which the student's own class may be imported. None means no package.
        untrained: Whether the student of `model` gets random weights: the baseline of the trained one.
        space: Name of a teacher, in whose space the student of `model` answers. Empty: its own embeddings.

    Raises:
        UserError: both or neither are given, `untrained` or `space` is given without `model` or with each other, the
            encoder cannot be loaded, or the student does not answer in the space.
    """
    if (teacher is None) == (model is None):
        raise UserError("an encoder is required: either --teacher NAME or --model RUN")
    if untrained and model is None:
        raise UserError("--untrained requires --model RUN: its student gets random weights")
    if space and (model is None or untrained):
        raise UserError(f"--space {space} requires --model RUN: a trained student answers in the space of its teacher")
    if model is not None and space:
        return TEACHERS.create("frozen", student=model, allow_import=allow_import, space=space)
    if model is not None:
        return (untrained_student if untrained else load_student)(model, allow_import)
    assert teacher is not None
    return TEACHERS.build(teacher)


def introduction(encoder: Encoder) -> str:
    """Return a description of an encoder and the source of its weights."""
    if isinstance(encoder, Teacher):
        return describe("teacher", TEACHERS.name_of(type(encoder)), encoder)
    return describe("student", STUDENTS.name_of(type(encoder)), encoder)


def describe(role: str, name: str, encoder: Encoder) -> str:
    """Return a description of an encoder, the source of its weights and what was understood of it, in up to 3 lines.

    Args:
        role: "teacher" or "student".
        name: Name of the encoder in the run.
        encoder: Encoder to describe.
    """
    frames = f"frame {encoder.frame_dim} every {encoder.frame_hop:.3f} s" if encoder.frame_hop else "no frames"
    line = f"{role}: {name}, {parameters_text(encoder)}, {encoder.sample_rate} Hz, clip {encoder.clip_dim}, {frames}"
    if isinstance(encoder, Teacher) and encoder.inner_layers:
        line += f", layers 1 to {encoder.inner_layers}"
    if role == "teacher":
        line += f", licence: {encoder.licence}"
    line += f"\n  weights: {encoder.provenance}" if encoder.provenance else ""
    return line + (f"\n  graph: {encoder.reading}" if encoder.reading else "")


def parameters_text(encoder: Encoder) -> str:
    """Return the number of parameters of an encoder as text, or that it is unknown."""
    parameters = known_parameters(encoder)
    return "number of parameters unknown" if parameters is None else f"{parameters:,} parameters"


def choose_device(device: str) -> torch.device:
    """Return the named device; for "auto" a GPU if there is one, otherwise the CPU.

    Raises:
        UserError: a CUDA device is named and there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"--device {device}: this machine has no CUDA device")
    return torch.device(device)
