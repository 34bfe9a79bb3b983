"""A trained student as a teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.data.fingerprint import weights_digest
from distill.students.saved import load_student
from distill.students.spaces import space_of
from distill.students.student import Student
from distill.teachers.teacher import Teacher


class Frozen(Teacher):
    """A frozen student of yours, for born-again distillation and as a tokenizer.

    Args:
        student: A run folder, a student folder or a hub id. In Python it may be the student itself.
        allow_import: Package that may be imported for the student's own class. None allows no import.
        windows: How longer clips are cut. The default gives the network whole clips of up to 2 minutes.
        space: Name of a teacher of the student, in whose space the clip embeddings lie. Empty: the student's own.

    Raises:
        UserError: no student is found, or it does not answer in the space.
    """

    later_options: Mapping[str, Any] = MappingProxyType({"space": ""})
    licence = "that of the student"
    source = "`distill fit`: --teacher.student RUN"

    def __init__(
        self,
        student: str | Student,
        allow_import: str | None = None,
        windows: Windows = Windows(seconds=0),
        space: str = "",
    ) -> None:
        super().__init__(windows)
        # A copy, because the student may be trained further while the teacher must not change.
        self.student = copy.deepcopy(student) if isinstance(student, Student) else load_student(student, allow_import)
        student, self.space = self.student, space
        if space:
            self.shaped_by = {"space": weights_digest(space_of(student.spaces, space))}
        self.sample_rate, self.labels, self.licence = student.sample_rate, student.labels, student.licence
        self.whole_seconds = student.whole_seconds

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the student's rate."""
        embeddings = self.student.classified(self.student.encode(batch))
        return self.student.in_space(embeddings, self.space) if self.space else embeddings
