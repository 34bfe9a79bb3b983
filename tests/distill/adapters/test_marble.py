from __future__ import annotations

import pytest
import torch

from distill.adapters.marble import StudentEncoder
from distill.data.errors import UserError
from distill.students.student import Student


def test_an_encoder_has_one_layer_of_frames(folder: str, student: Student) -> None:
    encoder = StudentEncoder(folder)
    assert (encoder.NAME, encoder.SAMPLING_RATE, encoder.TOKEN_RATE) == ("BCResNet", 32_000, 62.5)
    assert (encoder.num_features, encoder.n_transformer_layers) == (student.frame_dim, 1)
    layers = encoder(torch.randn(2, 32_000))
    assert isinstance(layers, tuple)
    assert len(layers) == 1
    assert layers[0].shape[::2] == (2, student.frame_dim)


def test_a_frozen_student_is_never_trained(folder: str) -> None:
    encoder = torch.nn.ModuleList([StudentEncoder(folder)]).train()
    before = {key: tensor.clone() for key, tensor in encoder.state_dict().items()}
    assert not encoder[0](torch.randn(2, 32_000))[0].requires_grad
    assert all(torch.equal(tensor, before[key]) for key, tensor in encoder.state_dict().items())


def test_a_student_can_be_trained(folder: str) -> None:
    encoder = StudentEncoder(folder, train_mode="full")
    assert encoder.timeline.student.training
    assert encoder(torch.randn(2, 32_000))[0].requires_grad
    with pytest.raises(UserError, match="train_mode 'lora'"):
        StudentEncoder(folder, train_mode="lora")
