"""What every teacher inherits: it stays frozen, and its windows are checked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.teacher import Teacher


class Projection(Teacher):
    """A linear layer over the first samples."""

    sample_rate = 8_000

    def __init__(self, windows: Any = Windows()) -> None:
        super().__init__(windows)
        self.linear = nn.Sequential(nn.Linear(4, 2), nn.Dropout())

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(self.linear(batch.waveform[:, :4]))


def test_a_teacher_stays_in_evaluation_mode() -> None:
    teacher = Projection().train()
    assert not any(module.training for module in teacher.modules())


def test_a_forward_freezes_what_was_thawed_and_has_no_gradient() -> None:
    teacher = Projection().requires_grad_(True)
    teacher.linear[1].train()
    batch = AudioBatch.of(torch.randn(2, 100), 8_000)
    clip = teacher(batch).clip
    assert not clip.requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert clip.equal(teacher(batch).clip)  # no dropout


def test_windows_may_be_the_mapping_of_a_configuration() -> None:
    assert Projection({"seconds": 3.0}).windows == Windows(seconds=3.0)
    with pytest.raises(UserError, match=r"--teacher\.windows: .*size"):
        Projection({"size": 3.0})


def test_windows_are_at_most_as_long_as_the_input_of_the_network() -> None:
    teacher = Projection(Windows(seconds=5.0))
    teacher.limit_windows(5.0)
    assert teacher.longest_window == 5.0
    with pytest.raises(UserError, match=r"--teacher\.windows\.seconds 5: must be at most 4\.5"):
        teacher.limit_windows(4.5)


def test_computed_embeddings_have_no_sample_and_any_crop() -> None:
    teacher = Projection()
    assert teacher.sample(10) is None
    teacher.check_crop({"crop_seconds": 3.0, "crop_position": "random"})
