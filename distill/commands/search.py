"""`distill search`: find the clips of a store that are nearest to a sound or to a text."""

from __future__ import annotations

from pathlib import Path

from distill.data.audio.read import AUDIO_SUFFIXES
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.errors import AudioError, UserError
from distill.data.store.reader import EmbeddingStore
from distill.frozen import Frozen
from distill.run.baselines import teacher_of
from distill.run.encoders import encoder_of
from distill.run.searching import Match, nearest
from distill.students.student import Student
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
    path = Path(query).expanduser()
    is_sound = path.is_file()
    if is_sound:
        encoder = _encoder(teacher, model, space, opened.dim, allow_import)
        try:
            vector = encoder.embed_file(path, frames=False).clip[0].numpy()
        except AudioError as error:
            raise UserError(f"{query}: {error}") from error
    elif not query.strip() or query.lower().endswith(tuple(AUDIO_SUFFIXES)):
        raise UserError(f"--query {query}: no such file")
    else:
        vector = _text_tower(teacher, model, space, allow_import).embed_texts([query])[0].numpy()
    _require_size(opened, len(vector))
    matches = nearest(opened, vector, count, standardised=is_sound)
    for match in matches:
        print(f"{match.cosine:6.3f}  {match.id}")
    return matches


def _encoder(
    teacher: Written | Teacher | None, model: str | None, space: str, dim: int, allow_import: str | None
) -> Encoder:
    """Return the encoder of a sound.

    A student answers in its only space with the size of the store, unless its own embedding has that size.
    """
    encoder = encoder_of(teacher, model, allow_import, space=space)
    if not isinstance(encoder, Student) or encoder.clip_dim == dim:
        return encoder
    fitting = [name for name, each in encoder.spaces.items() if each.dim == dim]
    return Frozen(encoder, space=fitting[0]) if len(fitting) == 1 else encoder


def _require_size(opened: EmbeddingStore, dim: int) -> None:
    """Raise UserError if the vectors of a store have another size than the query."""
    if dim != opened.dim:
        raise UserError(
            f"--store {opened.path} holds vectors of {opened.dim} numbers, the query has {dim}: they are of "
            "different spaces; --space NAME takes the student's vectors in the space of its teacher"
        )


def _text_tower(teacher: Written | Teacher | None, model: str | None, space: str, allow_import: str | None) -> Teacher:
    """Return the teacher that embeds texts: the given one, or that of a student."""
    if (teacher is None) == (model is None):
        raise UserError("an encoder is required: either --teacher NAME or --model RUN")
    if teacher is not None:
        return TEACHERS.build(teacher)
    assert model is not None
    return teacher_of(model, space, allow_import)
