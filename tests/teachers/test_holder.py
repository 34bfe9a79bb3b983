"""Teachers outside the modules of an objective."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.data.batch import AudioBatch, Embeddings
from distill.teachers.holder import FrozenTeachers
from distill.teachers.teacher import Teacher


class Scaled(Teacher):
    """A teacher with a parameter, a buffer and dropout."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("offset", torch.zeros(2))
        self.dropout = nn.Dropout()

    def encode(self, batch: AudioBatch) -> Embeddings:
        return Embeddings.of_clip(batch.waveform[:, :2] * self.scale + self.offset)


def test_teachers_are_frozen_when_they_are_taken_and_found_by_name() -> None:
    first, second = Scaled(), Scaled()
    first.dropout.train()
    held = FrozenTeachers({"first": first, "second": second})
    assert list(held) == ["first", "second"]
    assert (held["second"], len(held)) == (second, 2)
    assert not first.dropout.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    with pytest.raises(KeyError):
        held["third"]


def test_a_move_reaches_parameters_and_buffers() -> None:
    held = FrozenTeachers({"one": Scaled()})
    held.move(lambda tensor: tensor.double())
    assert {tensor.dtype for tensor in held["one"].state_dict().values()} == {torch.float64}


def test_an_owner_does_not_register_the_teachers() -> None:
    owner = nn.Module()
    owner.held = FrozenTeachers({"one": Scaled()})
    assert not list(owner.parameters())
    assert not owner.state_dict()
