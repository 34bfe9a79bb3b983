from __future__ import annotations

from pathlib import Path

import pytest
import torch

import distill
from distill.students.saved import save_student
from distill.students.student import Student
from tests.students.tiny import tiny_student


class WholeClips(distill.Student):
    """A student without frames, which knows the level of a clip only."""

    sample_rate = 16_000

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(2))

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        level = batch.waveform.abs().sum(1, keepdim=True) / batch.lengths.unsqueeze(1)
        return distill.Embeddings.of_clip(level * self.scale)


@pytest.fixture
def student() -> Student:
    """A student at 32 kHz with frames every 16 ms."""
    torch.manual_seed(0)
    return tiny_student("bc_resnet").eval()


@pytest.fixture
def folder(student: Student, tmp_path: Path) -> str:
    """Its student folder."""
    save_student(student, tmp_path / "student", "# card\n")
    return str(tmp_path / "student")


@pytest.fixture
def whole_clips() -> Student:
    """A student of whole clips at 16 kHz."""
    return distill.create_student(WholeClips).eval()
