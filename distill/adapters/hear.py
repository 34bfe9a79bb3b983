"""HEAR 2021: the functions of its common API. This module is one that hear-validator and heareval accept.

The API: hearbenchmark.com/hear-api.html; the checks: hearvalidator/validate.py of hear-validator.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from distill.adapters.timeline import Timeline
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.files import write_text
from distill.students.saved import card_of, load_student, save_student
from distill.students.student import Student

RATES = (16_000, 22_050, 44_100, 48_000)  # Hz, that hear-validator accepts; each data set of HEAR exists in these

_MAX_STEP = 50.0  # ms; hear-validator warns of a larger one
_COARSE = "; hear-validator warns of steps above 50 ms, which event tasks need"


class HearModel(nn.Module):
    """A student as HEAR's API describes a model.

    Attributes:
        sample_rate: Rate of the audio that it gets, in Hz, one of `RATES`. The student resamples.
        scene_embedding_size: Size of the embedding of a clip.
        timestamp_embedding_size: Size of the embedding of a frame.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        rate = student.sample_rate
        self.sample_rate = rate if rate in RATES else RATES[0] if rate < RATES[0] else RATES[-1]
        self.scene_embedding_size, self.timestamp_embedding_size = student.clip_dim, student.frame_dim
        self.timeline = Timeline(student, self.sample_rate)


def load_model(model_file_path: str = "", allow_import: str | None = None) -> HearModel:
    """Load a student for HEAR, in evaluation mode.

    Args:
        model_file_path: Run folder, student folder or hub id.
        allow_import: Package from which the student's own class may be imported. None: no package.

    Raises:
        UserError: there is no such student.
    """
    if not model_file_path:
        raise UserError("HEAR's model is required: --model RUN, or a module of `distill export --format hear`")
    return HearModel(load_student(model_file_path, allow_import)).eval()


@torch.no_grad()
def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """Return the embeddings of clips, float32 (clips, size), from samples in [-1, 1] (clips, samples)."""
    student = model.timeline.student
    return student(AudioBatch.of(audio, model.sample_rate).to(student.device)).clip.float()


@torch.no_grad()
def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Return the embeddings of frames, and their times.

    Args:
        audio: Samples in [-1, 1]. Shape (clips, samples).
        model: The model.

    Returns:
        Embeddings, float32 (clips, time, size), and the centres of the frames in milliseconds (clips, time).
    """
    frames, times = model.timeline(audio)
    return frames.float(), (1000 * times).expand(len(frames), -1)


def write_module(path: Path, model: str, allow_import: str | None = None) -> str:
    """Write a module of one student, and a copy of the student beside it: NAME.py and NAME_student/.

    heareval stores embeddings by the name of a module, so students need one each.

    Args:
        path: File to write, NAME.py. Its folder must be on the Python path when the kit runs.
        model: Run folder, student folder or hub id.
        allow_import: Package from which the student's own class may be imported, here and in the module. None: no
            package.

    Returns:
        What was written, as one line.

    Raises:
        UserError: the name is not one of a module, or there is no such student.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"{path}: must be NAME.py, of letters, digits and _")
    student = load_student(model, allow_import)
    folder = path.with_name(f"{path.stem}_student")
    save_student(student, folder, card_of(model))
    write_text(
        path,
        f'''"""HEAR's functions for one student."""

from pathlib import Path

from distill.adapters import hear
from distill.adapters.hear import get_scene_embeddings, get_timestamp_embeddings

STUDENT = str(Path(__file__).with_name({folder.name!r}))


def load_model(model_file_path=STUDENT):
    return hear.load_model(model_file_path or STUDENT, allow_import={allow_import!r})
''',
    )
    written = HearModel(student)
    step = 1000 * written.timeline.hop
    return (
        f"{path} and {folder}/: {written.sample_rate} Hz, scenes of {written.scene_embedding_size} numbers, frames of "
        f"{written.timestamp_embedding_size} every {step:g} ms" + (_COARSE if step > _MAX_STEP else "")
    )
