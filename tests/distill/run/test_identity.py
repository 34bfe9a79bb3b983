"""The fingerprint and the identity of an encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import distill
from distill.data.errors import StoreError, UserError
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


class Hidden(distill.Teacher):
    """A teacher of another runtime whose weights no option names."""

    sample_rate = 16_000

    def __init__(self, checkpoint: str = "", gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(batch.waveform.abs().mean(1, keepdim=True).repeat(1, 3) * self.gain)


class Declared(Hidden):
    weights = None


class OfBuffers(Hidden):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gains", torch.ones(3))


class Shaped(Hidden):
    shaped_by = {"sha256": "abc"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("kind", "options", "is_known"),
    [
        (Hidden, {}, False),
        (Hidden, {"gain": 2.0}, False),
        (Hidden, {"checkpoint": "missing.tflite"}, False),
        (Hidden, {"checkpoint": "w.tflite"}, True),
        (Declared, {}, True),
        (OfBuffers, {}, True),
        (Shaped, {}, True),
        ("spectral", {}, True),
        ("mel", {}, True),
        ("musicnn", {}, True),
        (Loudness, {}, True),
    ],
)
def test_a_store_refuses_a_teacher_whose_weights_nothing_identifies(
    kind: Any, options: dict[str, Any], is_known: bool, sounds: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.tflite").write_bytes(b"weights")
    arguments: dict[str, Any] = {"teacher": distill.create_teacher(kind, **options), "workers": 0}
    data = str(sounds(2))
    if is_known:
        assert len(distill.embed(data, str(tmp_path / "s"), **arguments)) == 2
    else:
        with pytest.raises(UserError, match=r"Hidden: nothing identifies its weights.* `weights = None`"):
            distill.embed(data, str(tmp_path / "s"), **arguments)
        assert not (tmp_path / "s" / "plan.json").exists()


def test_files_count_beside_buffers_and_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime(Hidden):
        def __init__(self, checkpoint: str) -> None:
            super().__init__()
            self.register_buffer("filters", torch.ones(3))  # part of the front-end, not of the network

    monkeypatch.setenv("HOME", str(tmp_path))
    digests = []
    for content in (b"one", b"two"):
        (tmp_path / "w.onnx").write_bytes(content)
        fingerprint = encoder_fingerprint(distill.create_teacher(Runtime, checkpoint="~/w.onnx"))
        digests.append(fingerprint["files"]["checkpoint"])
    assert digests[0] != digests[1]
