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
from distill.students.saved import load_student
from distill.students.student import Student

RATES = (16_000, 22_050, 44_100, 48_000)  # Hz, that hear-validator accepts; each data set of HEAR exists in these


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
        raise UserError("HEAR's model is required: --model RUN, or a module of distill.adapters.hear.write_module")
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


def write_module(path: Path, model: str) -> None:
    """Write a module of one student. heareval stores embeddings by the name of a module, so students need one each.

    Args:
        path: File to write, NAME.py. Its folder must be on the Python path when the kit runs.
        model: Run folder, student folder or hub id, which becomes the default of `load_model`.

    Raises:
        UserError: the name is not one of a module.
    """
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UserError(f"{path}: must be NAME.py, of letters, digits and _")
    source = str(Path(model).resolve()) if Path(model).exists() else model
    write_text(
        path,
        f'''"""HEAR's functions for one student."""

from distill.adapters import hear
from distill.adapters.hear import get_scene_embeddings, get_timestamp_embeddings


def load_model(model_file_path={source!r}):
    return hear.load_model(model_file_path)
''',
    )
