"""Classification without training: classes are texts, in the space of a teacher that embeds texts, such as CLAP."""

from __future__ import annotations

from collections.abc import Sequence

from distill.data.errors import UserError
from distill.run.baselines import teacher_of
from distill.students.decisions import ONE_OF
from distill.students.heads import Classifier, TextHead
from distill.students.saved import load_student
from distill.students.spaces import space_of
from distill.students.student import Student

PROMPT = "This is a sound of {}."
"""The prompt of LAION-CLAP's zero-shot classification (its README, "Zero-shot classification")."""


def student_of_texts(
    model: str, space: str, classes: Sequence[str], prompt: str, allow_import: str | None = None
) -> Student:
    """Load a student that classifies by the cosine between its vectors and those of texts.

    Args:
        model: Run folder of the student.
        space: Name of a teacher of the student that embeds texts.
        classes: Names of the classes. "_" stands for a space.
        prompt: Text of a class, with {} in place of its name.
        allow_import: Package from which the classes of the student and of its teacher may be imported.

    Raises:
        UserError: the prompt has no {}, the student does not answer in this space, or the teacher embeds no texts.
    """
    if "{}" not in prompt:
        raise UserError(f"--prompt {prompt!r}: must have {{}} in place of the name of a class")
    student = load_student(model, allow_import)
    mapped = space_of(student.spaces, space)
    texts = [prompt.replace("{}", name.replace("_", " ")) for name in classes]
    vectors = teacher_of(model, space, allow_import).embed_texts(texts)
    student.labels, student.classifier = tuple(classes), Classifier(ONE_OF, TextHead(mapped, vectors))
    return student
