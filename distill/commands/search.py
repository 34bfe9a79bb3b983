"""`distill search`: find the clips of a store that are nearest to a sound or to a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distill.data.audio.read import AUDIO_SUFFIXES
from distill.data.encoders.registry import Written
from distill.data.errors import AudioError, UserError
from distill.data.store.reader import EmbeddingStore
from distill.run.baselines import teacher_of
from distill.run.encoders import encoder_of
from distill.run.searching import Match, nearest
from distill.students.saved import load_student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher


def search(
    query: str,
    store: str,
    teacher: Written | Teacher | None = None,
    model: str | None = None,
    space: str = "",
    count: int = 10,
    allow_import: str | None = None,
) -> list[Match]:
    """Find the clips of a store that are nearest to a sound, or to a text.

    The store may hold vectors of the encoder itself, of another student in the same space, or of the teacher whose
    space it is. A text requires CLAP: as the teacher, or as the teacher of the student.

    Args:
        query: File of audio, or a text such as "rain on a tin roof".
        store: Folder that `distill embed` wrote.
        teacher: Teacher to embed the query with: a registered name, an import path, or an object. None: use `model`.
        model: Trained student to embed the query with: a run folder, a student folder or a hub id. None: use `teacher`.
        space: Name of a teacher of `model`, in whose space its student answers. Empty: the student's own embeddings,
            unless only a space of the student has the size of the store.
        count: Number of clips to find.
        allow_import: Package from which classes may be imported. None: no package.

    Returns:
        The nearest clips, the nearest first. A sound is compared by the cosine of vectors that are standardised by the
        store, a text by the cosine.

    Raises:
        UserError: the query is neither a file nor a text, there is no text tower, or the vectors of the store have
            another size.
    """
    opened = EmbeddingStore(store)
    if count < 1:
        raise UserError(f"--count {count}: must be at least 1")
    if Path(query).expanduser().is_file():
        if model is not None and not space:
            space = _space_of_size(model, opened.dim, allow_import)
        encoder = encoder_of(teacher, model, allow_import, space=space)
        try:
            vector = encoder.embed_file(Path(query).expanduser(), frames=False).clip[0].numpy()
        except AudioError as error:
            raise UserError(f"{query}: {error}") from error
    elif not query.strip() or query.lower().endswith(tuple(AUDIO_SUFFIXES)):
        raise UserError(f"--query {query}: no such file")
    else:
        vector = _text_tower(teacher, model, space, allow_import).embed_texts([query])[0].numpy()
    matches = _nearest(opened, vector, count, standardised=Path(query).expanduser().is_file())
    for match in matches:
        print(f"{match.cosine:6.3f}  {match.id}")
    return matches


def _nearest(opened: EmbeddingStore, vector: NDArray[np.float32], count: int, standardised: bool) -> list[Match]:
    if len(vector) != opened.dim:
        raise UserError(
            f"--store {opened.path} holds vectors of {opened.dim} numbers, the query has {len(vector)}: they are of "
            "different spaces; --space NAME takes the student's vectors in the space of its teacher"
        )
    return nearest(opened, vector, count, standardised)


def _space_of_size(model: str, dim: int, allow_import: str | None) -> str:
    """Return the only space of a student whose vectors have the size of the store; empty if its own have it."""
    student = load_student(model, allow_import)
    fitting = [name for name, each in student.spaces.items() if each.dim == dim]
    return fitting[0] if student.clip_dim != dim and len(fitting) == 1 else ""


def _text_tower(teacher: Written | Teacher | None, model: str | None, space: str, allow_import: str | None) -> Teacher:
    """Return the teacher that embeds texts: the given one, or that of a student."""
    if (teacher is None) == (model is None):
        raise UserError("an encoder is required: either --teacher NAME or --model RUN")
    if teacher is not None:
        return TEACHERS.build(teacher)
    assert model is not None
    return teacher_of(model, space, allow_import)
