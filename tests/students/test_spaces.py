"""Spaces: a student answers with vectors of its teacher's space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import distill
from distill.data.errors import UserError
from distill.students.saved import load_student, save_student
from distill.students.spaces import Space
from tests.distill.commands.test_fit import fit
from tests.own_parts import TinyConvolution


def random_space(norm: float = 0.0) -> Space:
    projector = nn.Sequential(nn.Linear(8, 6), nn.Hardswish(), nn.Linear(6, 5))
    layers = [(layer.weight, layer.bias) for layer in projector if isinstance(layer, nn.Linear)]
    return Space(layers, torch.randn(5, 5), torch.randn(5), norm)


def test_a_space_is_the_projector_and_then_the_scale_of_the_teacher() -> None:
    projector = nn.Sequential(nn.Linear(8, 6), nn.Hardswish(), nn.Dropout(0.5), nn.Linear(6, 5)).eval()
    layers = [(layer.weight, layer.bias) for layer in projector if isinstance(layer, nn.Linear)]
    matrix, mean, clip = torch.randn(5, 5), torch.randn(5), torch.randn(3, 8)
    prediction = projector(clip)
    torch.testing.assert_close(Space(layers, matrix, mean, 0.0)(clip), prediction @ matrix + mean)
    unit = prediction / prediction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(Space(layers, matrix, mean, 2.0)(clip), 2 * unit @ matrix + mean)


@pytest.mark.parametrize("norm", [0.0, 3.0])
def test_spaces_are_saved_with_the_student(norm: float, tmp_path: Path) -> None:
    student = distill.create_student("tests.own_parts.TinyConvolution")
    student.spaces = {"first": random_space(norm), "first+": random_space(), "": random_space()}
    save_student(student, tmp_path, "card")
    loaded, clip = load_student(tmp_path), torch.randn(4, 8)
    assert loaded.spaces.keys() == student.spaces.keys()
    for name, space in student.spaces.items():
        assert loaded.spaces[name](clip).equal(space(clip))
    student.spaces = {}
    save_student(student, tmp_path, "card")
    assert not (tmp_path / "spaces.safetensors").exists()
    assert not load_student(tmp_path).spaces


def test_a_damaged_file_of_spaces_is_one_line(tmp_path: Path) -> None:
    student = distill.create_student("tests.own_parts.TinyConvolution")
    student.spaces = {"teacher": random_space()}
    save_student(student, tmp_path, "card")
    student.spaces = {"another": random_space()}
    save_student(student, tmp_path / "other", "card")
    for content in ((tmp_path / "other" / "spaces.safetensors").read_bytes(), b"no tensors", b""):
        (tmp_path / "spaces.safetensors").write_bytes(content)
        with pytest.raises(UserError, match=r"spaces\.safetensors"):
            load_student(tmp_path)


def test_a_trained_student_answers_in_the_space_of_its_teacher(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(40, seconds=0.3)
    objective = {"class_path": "embedding", "init_args": {"loss": "mse"}}
    fit(data, tmp_path / "run", teacher="tests.own_parts.Loudness", objective=objective, epochs=10, validation=0)
    student = distill.load(str(tmp_path / "run"))
    teacher = distill.create_teacher("tests.own_parts.Loudness")
    (name,) = student.spaces
    own, answers, expected = [], [], []
    for path in sorted(data.rglob("*.wav")):
        waveform, rate = soundfile.read(path, dtype="float32")
        own.append(student.embed(waveform, rate).clip)
        answers.append(student.embed(waveform, rate, space=name).clip)
        expected.append(teacher.embed(waveform, rate).clip)
    answered, wanted = torch.cat(answers), torch.cat(expected)
    assert answered.shape == wanted.shape != torch.cat(own).shape
    # A student that learned little is as near as the mean. A missing mean or scale would be 1,000 times as far.
    assert (answered - wanted).square().mean() < 1.1 * (wanted - wanted.mean(0)).square().mean()
    store = distill.embed(
        str(data), str(tmp_path / "store"), model=str(tmp_path / "run"), space=name, dtype="float32", workers=0
    )
    ids = [path.relative_to(data).as_posix() for path in sorted(data.rglob("*.wav"))]
    np.testing.assert_allclose(store[ids], answered, atol=1e-4)


def test_an_unknown_space_names_the_known_ones(tmp_path: Path) -> None:
    student = TinyConvolution()
    with pytest.raises(UserError, match=r"--space clap: .*it has none"):
        student.embed(torch.zeros(16_000), 16_000, space="clap")
    student.spaces = {"beats": random_space(), "ast": random_space()}
    with pytest.raises(UserError, match=r"--space clap: .*it has ast, beats"):
        student.embed(torch.zeros(16_000), 16_000, space="clap")
    for options in ({"teacher": "spectral"}, {"model": "run", "untrained": True}):
        with pytest.raises(UserError, match="--space ast requires --model RUN"):
            distill.embed(str(tmp_path), str(tmp_path / "store"), space="ast", **options)
