"""Stores of embeddings: what they go on with, and their fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import distill
from distill.data.clips import dataset
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import StoreError, UserError
from distill.data.store.reader import EmbeddingStore
from distill.run.embeddings import _batches, encoder_fingerprint, identity
from tests.conftest import GOLDEN, tone
from tests.own_parts import Loudness, TinyConvolution


def test_embed_goes_on_and_refuses_another_encoder(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(6))
    first = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0).read_all()
    again = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0, batch_size=1).read_all()
    assert np.array_equal(first, again)
    ast = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
    with pytest.raises(UserError, match="encoder is 'spectral', not 'ast'"):
        distill.embed(data, str(tmp_path / "s"), teacher=ast, workers=0)
    with pytest.raises(UserError, match=r"crop_seconds is 10\.0, not 0\.2"):
        distill.embed(data, str(tmp_path / "s"), teacher="spectral", crop=distill.Crop(0.2), workers=0)


def test_whole_clips_of_unequal_length_are_not_all_padded_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, seconds in enumerate((0.2, 0.3, 4.0, 0.2, 0.1, 0.1, 0.1)):
        soundfile.write(tmp_path / f"{number}.wav", tone(400 + 50 * number, seconds), 16_000)
    (tmp_path / "5.wav").write_bytes(b"no sound")
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop(0))
    together = distill.embed(str(tmp_path), str(tmp_path / "a"), teacher="spectral", crop=Crop(0), workers=0)
    monkeypatch.setattr("distill.run.embeddings._BATCH_SECONDS", 2.0)
    assert list(_batches(clips, range(7), 3)) == [range(2), range(2, 3), range(3, 6), range(6, 7)]
    apart = distill.embed(str(tmp_path), str(tmp_path / "b"), teacher="spectral", crop=Crop(0), workers=0)
    assert apart.ids == together.ids
    assert [clip.id for clip in apart.set_aside] == ["5.wav"]
    assert np.allclose(apart.read_all(), together.read_all(), atol=1e-3)


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


def test_a_store_goes_on_only_with_the_encoder_and_the_input_that_it_began_with(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    table, out = sounds(3, seconds=0.2) / "clips.csv", str(tmp_path / "store")
    table.write_text("id,path,start\na,class0/000.wav,0\nb,class1/001.wav,0.05\n")

    def embed(teacher: distill.Teacher, crop: Crop = Crop()) -> EmbeddingStore:
        return distill.embed(str(table), out, teacher=teacher, crop=crop, workers=0, device="cpu")

    first = embed(trained(0.5)).read_all()
    assert np.array_equal(embed(trained(0.5)).read_all(), first)
    with pytest.raises(StoreError, match="other embeddings than requested: weights is '"):
        embed(trained(0.25))
    slow = trained(0.5)
    slow.sample_rate = 8_000
    with pytest.raises(StoreError, match=r"requested: sample_rate is 16000, not 8000\. "):
        embed(slow)
    with pytest.raises(StoreError, match=r"crop_position is 'centre', not 'start'; crop_seconds is 10\.0, not 0\.1\."):
        embed(trained(0.5), Crop(0.1, "start"))
    table.write_text(table.read_text().replace("0.05", "0.1"))
    with pytest.raises(StoreError, match="requested: windows is '"):
        embed(trained(0.5))


@pytest.mark.parametrize("policy", ["RESAMPLER", "CHANNEL_POLICY"])
def test_a_store_is_not_gone_on_with_by_a_version_that_decodes_otherwise(
    policy: str, sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"data": str(sounds(2, seconds=0.2)), "out": str(tmp_path / "store"), "workers": 0}
    distill.embed(teacher=distill.create_teacher(Loudness), **options)
    monkeypatch.setattr(dataset, policy, "another")
    with pytest.raises(StoreError, match=r"requested: (resampler|channels) is '[^']*', not 'another'"):
        distill.embed(teacher=distill.create_teacher(Loudness), **options)
