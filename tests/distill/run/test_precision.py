"""Cheaper arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distill
from distill.data.audio.mel import LogMel
from distill.data.encoders import packed as packing
from distill.data.errors import UserError
from distill.run.precision import compile_networks
from distill.students.hear.frontend import HearFrontEnd
from tests.own_parts import TinyConvolution
from tests.students.tiny import STUDENT_NAMES, tiny_student
from tests.teachers.tiny import Options

TRANSFORMERS = ("ast", "beats", "clap", "ssast")
FEWER_BITS = [
    ("mobilenet_v3", "bfloat16", 0.999),  # int8 leaves convolutions as they are
    *((name, "bfloat16", 0.999) for name in TRANSFORMERS),
    *((name, "int8", 0.98) for name in TRANSFORMERS),
]


@pytest.mark.parametrize(("name", "precision", "similar"), FEWER_BITS)
def test_fewer_bits_give_nearly_the_same_and_are_told_apart(
    name: str, precision: str, similar: float, sounds: Callable[..., Path], tmp_path: Path, options: Options
) -> None:
    data, arithmetic = str(sounds(4, seconds=1.0)), distill.Arithmetic(precision)
    encoder: dict[str, Any] = {"teacher": {"class_path": name, "init_args": options.get(name)}}
    if name == "mobilenet_v3":
        encoder = {"model": options["frozen"]["student"]}
    full = distill.embed(data, str(tmp_path / "a"), workers=0, **encoder).read_all()
    fewer = distill.embed(data, str(tmp_path / "b"), workers=0, arithmetic=arithmetic, **encoder).read_all()
    cosine = (full * fewer).sum(1) / (np.linalg.norm(full, axis=1) * np.linalg.norm(fewer, axis=1))
    assert cosine.min() > similar
    assert np.abs(full - fewer).max() > 0
    with pytest.raises(UserError, match=f"precision is 'float32', not '{precision}'"):
        distill.embed(data, str(tmp_path / "a"), workers=0, arithmetic=arithmetic, **encoder)


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_all_blocks_of_a_student_are_compiled_and_no_front_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda function: function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, dynamic: compiled.append(module))
    student = tiny_student(name)
    compile_networks(student.device, student)
    weights = {weight for module in compiled for weight in module.parameters()}
    direct = set(student.parameters(recurse=False))  # such as the first token
    assert weights | direct == set(student.parameters())
    assert not any(isinstance(module, torch.nn.ModuleList | LogMel | HearFrontEnd) for module in compiled)


def test_without_a_compiler_a_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("No working C++ compiler found\nin a, b")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
    student = distill.create_student(TinyConvolution, channels=3).eval()
    batch = distill.AudioBatch.of(torch.randn(2, 4000), 16_000)
    prepared = distill.Arithmetic(compile=True).apply(student)
    assert prepared(batch).clip.equal(student(batch).clip)
    line = "not compiled, as torch.compile does not work here: No working C++ compiler found\n"
    assert capsys.readouterr().out == line


def test_a_compiled_encoder_says_the_same() -> None:
    student = distill.create_student(TinyConvolution, channels=3).eval()
    batch = distill.AudioBatch.of(torch.randn(2, 4000), 16_000)
    compiled = distill.Arithmetic(compile=True).apply(student)
    torch.testing.assert_close(compiled(batch).clip, student(batch).clip, atol=1e-5, rtol=1e-5)


def test_int8_reaches_the_layers_of_a_packed_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "gains", lambda: True)
    student = distill.create_student("hear", hidden=16, intermediate=32, heads=2, layers=1).eval()
    batch = distill.AudioBatch.of(torch.randn(2, 4000), 16_000)
    with torch.inference_mode():  # float32 packs the student in place
        plain, full, from_packed = (
            distill.Arithmetic(precision).apply(student)(batch).clip for precision in ("int8", "float32", "int8")
        )
    assert any(isinstance(module, packing.PackedLinear) for module in student.modules())
    torch.testing.assert_close(from_packed, plain)
    assert (full - plain).abs().max() > 1e-4
