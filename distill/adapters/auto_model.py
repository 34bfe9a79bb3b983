"""A student as a model of transformers, which `AutoModel.from_pretrained(FOLDER_OR_ID)` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from distill.adapters.auto_config import StudentConfig
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.students import STUDENTS
from distill.students.saved import card_of, load_student, save_student, student_folder
from distill.students.student import Student

_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")


@dataclass
class StudentOutput(ModelOutput):  # type: ignore[misc]
    """The output of a student, by the names that transformers uses.

    Args:
        last_hidden_state: Frames. Shape (batch, time, frame_dim).
        pooler_output: Embeddings of the clips. Shape (batch, clip_dim).
        logits: Class scores. Shape (batch, classes). Without a head, classes is 0.
        frame_times: Centre of each frame, in seconds. Shape (time,).
        frame_mask: True where the frame is valid. Shape (batch, time).
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    logits: Tensor | None = None
    frame_times: Tensor | None = None
    frame_mask: Tensor | None = None


class StudentModel(PreTrainedModel):  # type: ignore[misc]
    """A student. Its weights are checked and loaded as by `distill.load`.

    Args:
        config: Configuration of the student.
        student: The student. None builds it with random weights; its class must be known to this process.

    Raises:
        UserError: the class of the student is not known.
    """

    config_class = StudentConfig
    main_input_name = "input_values"

    def __init__(self, config: StudentConfig, student: Student | None = None) -> None:
        super().__init__(config)
        if student is None and not STUDENTS.is_trusted(config.student):
            raise UserError(f"the student {config.student!r} is not imported; import its package first")
        self.student = student or STUDENTS.create(config.student, **config.options)
        self.card = ""

    @classmethod
    def from_pretrained(cls, path: str, *args: Any, config: StudentConfig | None = None, **options: Any) -> Self:
        """Load a student, in evaluation mode.

        Args:
            path: Student folder, run folder or hub id.
            args: Not used.
            config: Configuration. None reads it.
            options: Those of a hub id (revision, token, cache_dir, local_files_only), and `dtype`. Others do not apply.

        Raises:
            UserError: there is no such student.
        """
        folder = student_folder(str(path), **{name: options[name] for name in _HUB_OPTIONS if name in options})
        model = cls(config or StudentConfig.from_pretrained(folder), load_student(folder)).eval()
        model.card = card_of(folder)
        dtype = options.get("dtype")
        dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype  # "auto": as it was saved
        return model.to(dtype) if isinstance(dtype, torch.dtype) else model

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None, **options: Any) -> StudentOutput:
        """Encode clips.

        Args:
            input_values: Samples in [-1, 1] at the student's rate. Shape (batch, samples).
            attention_mask: 1 for the samples of a clip, then 0. Shape (batch, samples). None: all are of the clip.
            options: Not used.
        """
        lengths = None if attention_mask is None else attention_mask.sum(1).long()
        batch = AudioBatch.of(input_values, self.student.sample_rate, lengths).to(self.student.device)
        clip, frames, times, mask, logits = self.student(batch)
        return StudentOutput(
            last_hidden_state=frames, pooler_output=clip, logits=logits, frame_times=times, frame_mask=mask
        )

    def save_pretrained(self, save_directory: str, *args: Any, **options: Any) -> None:
        """Write the student folder."""
        save_student(self.student, Path(save_directory), self.card)
