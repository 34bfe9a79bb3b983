"""Yesterday's student as today's teacher."""

from __future__ import annotations

import copy

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.students.saved import load_student
from distill.students.student import Student
from distill.teachers.teacher import Teacher


class Frozen(Teacher):
    """A trained student of yours that learns no more (born-again distillation, tokenizers).

    Args:
        student: A run folder, a student folder or a hub id; in Python the student itself too.
        allow_import: Package of the student's own class that may be imported.
        windows: How longer clips are cut.

    Raises:
        UserError: no student is there.
    """

    licence = "that of the student"
    source = "`distill fit`: --teacher.student RUN"

    def __init__(
        self, student: str | Student, allow_import: str | None = None, windows: Windows = Windows(seconds=0)
    ) -> None:
        super().__init__(windows)
        # A copy: freezing it must not freeze what is still trained, nor training that one reach this.
        self.student = copy.deepcopy(student) if isinstance(student, Student) else load_student(student, allow_import)
        student = self.student
        self.sample_rate, self.labels, self.licence = student.sample_rate, student.labels, student.licence

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the student's rate."""
        return self.student.encode(batch)
