"""Yesterday's student as today's teacher."""

from __future__ import annotations

from distill.data.batch import AudioBatch, Embeddings
from distill.students.student import Student
from distill.teachers.teacher import Teacher


class Frozen(Teacher):
    """A trained student that learns no more (born-again distillation, tokenizers).

    Args:
        student: The student, with its weights. In Python only; on the command line name its run folder.
    """

    licence = "that of the student"
    source = "`distill fit`"

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.sample_rate = student.sample_rate

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at the student's rate."""
        return self.student.encode(batch)
