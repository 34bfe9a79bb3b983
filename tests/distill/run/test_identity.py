"""The fingerprint and the identity of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distill
from distill.data.errors import StoreError
from distill.run.identity import encoder_fingerprint, identity
from tests.own_parts import Loudness, TinyConvolution


class Weighed(Loudness):
    """Bands that weights mix, which are no option."""

    def __init__(self) -> None:
        super().__init__()
        self.mixes = torch.nn.Linear(3, 3, bias=False)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(self.mixes(super().encode(batch).clip))


def trained(weight: float) -> Weighed:
    """The same class and options, with weights as from another file."""
    teacher = Weighed()
    with torch.no_grad():
        teacher.mixes.weight.fill_(weight)
    return teacher


def test_the_fingerprint_of_an_encoder_is_of_its_class_options_and_weights() -> None:
    known = encoder_fingerprint(trained(0.5))
    assert encoder_fingerprint(trained(0.5)) == known
    retrained = encoder_fingerprint(trained(0.25))
    assert {name for name in known if known[name] != retrained[name]} == {"weights"}
    assert encoder_fingerprint(distill.create_teacher(Loudness, bands=4)) != encoder_fingerprint(
        distill.create_teacher(Loudness, bands=5)
    )
    student = distill.create_student(TinyConvolution)
    before = encoder_fingerprint(student)
    with torch.no_grad():
        student.convolution.bias[0] += 1e-3
    after = encoder_fingerprint(student)
    assert {name for name in before if before[name] != after[name]} == {"weights"}
    assert identity(trained(0.5)) == identity(trained(0.5)) != identity(trained(0.25))


class Runtime(Loudness):
    """A teacher whose weights PyTorch does not know: bands mixed by the numbers in a file."""

    def __init__(self, checkpoint: str, gain: str = "") -> None:
        super().__init__()
        self.numbers = [float(text) for text in Path(checkpoint).read_text().split()]

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(super().encode(batch).clip * torch.tensor(self.numbers))


def test_a_store_refuses_a_teacher_without_torch_weights_whose_file_changed(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    data, out = str(sounds(3, seconds=0.2)), str(tmp_path / "store")

    def embed(file: str) -> np.ndarray[Any, Any]:
        teacher = distill.create_teacher(Runtime, checkpoint=str(tmp_path / file))
        return distill.embed(data, out, teacher=teacher, workers=0, device="cpu").read_all()

    (tmp_path / "first.txt").write_text("1 2 3")
    (tmp_path / "moved.txt").write_text("1 2 3")
    (tmp_path / "other.txt").write_text("1 2 4")
    assert np.array_equal(embed("first.txt"), embed("moved.txt"))
    teacher = distill.create_teacher(Runtime, checkpoint=str(tmp_path / "moved.txt"))
    assert identity(distill.Precomputed(out)) == identity(teacher)
    with pytest.raises(StoreError, match=r"requested: files is \{'checkpoint': '\w+'\}, not \{'checkpoint': '\w+'\}"):
        embed("other.txt")


def test_any_file_or_folder_counts_for_a_teacher_without_torch_weights(tmp_path: Path) -> None:
    (tmp_path / "weights.txt").write_text("1 2 3")
    (tmp_path / "gain" / "deep").mkdir(parents=True)
    (tmp_path / "gain" / "deep" / "a.txt").write_text("1")

    def fingerprint() -> tuple[dict[str, Any], str]:
        teacher = distill.create_teacher(Runtime, checkpoint=str(tmp_path / "weights.txt"), gain=str(tmp_path / "gain"))
        return encoder_fingerprint(teacher), identity(teacher)

    before, first = fingerprint()
    assert before["options"] == {}
    assert before["files"].keys() == {"checkpoint", "gain"}
    assert fingerprint() == (before, first)
    (tmp_path / "gain" / "deep" / "a.txt").write_text("2")
    after, second = fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"files"}
    assert before["files"]["checkpoint"] == after["files"]["checkpoint"]
    assert first != second


def test_the_fingerprint_of_a_teacher_with_weights_or_without_files_has_no_files() -> None:
    for teacher in (distill.create_teacher("musicnn"), distill.create_teacher("mel"), trained(0.5)):
        assert "files" not in encoder_fingerprint(teacher)
