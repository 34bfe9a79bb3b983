"""Checkpoints of all teachers: formats that are read, and files that are refused in one line."""

from __future__ import annotations

import argparse
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import distill
from distill.data.encoders import audioset
from distill.data.errors import UserError
from distill.teachers import TEACHERS
from distill.teachers.ast import _labels
from distill.teachers.teacher import Teacher
from tests.teachers.tiny import Options, RunsCode, teacher_names

Published = tuple[Callable[..., Teacher], str, dict[str, Any]]


@pytest.fixture
def published(name: str, options: Options) -> Published:
    """A teacher's class, a file in its official format, and the other options that build it."""
    needed = dict(options[name])
    return TEACHERS.find(name), needed.pop("checkpoint"), needed


def state_of(file: str) -> dict[str, torch.Tensor]:
    content = torch.load(file, weights_only=True)
    return dict(content.get("model", content))


@pytest.mark.parametrize("name", teacher_names(lambda tiny: tiny.one_file))
class TestEveryFileFormat:
    def test_provenance_names_the_file_and_its_digest(self, published: Published) -> None:
        teacher_class, file, options = published
        provenance = str(teacher_class(file, **options).provenance)
        assert file in provenance
        assert "sha256" in provenance

    @pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "frontend.upstream."])
    def test_a_wrapper_before_the_keys_changes_nothing(self, published: Published, prefix: str, tmp_path: Path) -> None:
        teacher_class, file, options = published
        state = {key.removeprefix("module."): tensor for key, tensor in state_of(file).items()}
        torch.save({"state_dict": {prefix + key: t for key, t in state.items()}}, tmp_path / "wrapped.pt")
        waveform = torch.randn(16_000)
        wrapped = teacher_class(str(tmp_path / "wrapped.pt"), **options).embed(waveform, 16_000).clip
        assert wrapped.equal(teacher_class(file, **options).embed(waveform, 16_000).clip)

    def test_safetensors_give_the_same(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        save_file({key: t.clone() for key, t in state_of(file).items()}, tmp_path / "weights.safetensors")
        waveform = torch.randn(16_000)
        copied = teacher_class(str(tmp_path / "weights.safetensors"), **options).embed(waveform, 16_000).clip
        assert copied.equal(teacher_class(file, **options).embed(waveform, 16_000).clip)

    def test_a_missing_file_a_folder_and_a_truncated_file(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, _ = published
        (tmp_path / "cut.pt").write_bytes(Path(file).read_bytes()[:9000])
        for path, message in (("none.pt", "no such file"), (".", "a folder"), ("cut.pt", "damaged or cut off")):
            with pytest.raises(UserError, match=message):
                teacher_class(str(tmp_path / path))

    def test_a_page_that_was_saved_in_its_place(self, published: Published, tmp_path: Path) -> None:
        (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>gone</html>")
        with pytest.raises(UserError, match="web page"):
            published[0](str(tmp_path / "page.pt"))

    def test_any_key_too_few_gets_one_line(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        state = state_of(file)
        needed = 0
        for key in state:
            torch.save({other: tensor for other, tensor in state.items() if other != key}, tmp_path / "less.pt")
            try:
                teacher_class(str(tmp_path / "less.pt"), **options)
            except UserError:
                needed += 1
        assert needed > len(state) / 2

    def test_a_pickle_with_code_is_refused_and_not_run(
        self, published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with open("code.pt", "wb") as file:
            pickle.dump({"model": RunsCode()}, file)
        with pytest.raises(UserError, match="code or objects"):
            published[0]("code.pt")
        assert not Path("RAN").exists()

    def test_a_training_file_with_objects_is_refused(self, published: Published, tmp_path: Path) -> None:
        torch.save({"model": state_of(published[1]), "args": argparse.Namespace(lr=1)}, tmp_path / "train.pt")
        with pytest.raises(UserError, match="code or objects"):
            published[0](str(tmp_path / "train.pt"))

    def test_a_checkpoint_of_another_model(self, published: Published, tmp_path: Path) -> None:
        torch.save(OrderedDict({"layer.weight": torch.zeros(2, 2)}), tmp_path / "other.pt")
        with pytest.raises(UserError, match=r"'layer\.weight'"):
            published[0](str(tmp_path / "other.pt"))

    def test_one_weight_too_few(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        state = state_of(file)
        del state[next(key for key in state if key.endswith(("1.fc2.bias", "1.mlp.fc2.bias")))]
        torch.save(state, tmp_path / "less.pt")
        with pytest.raises(UserError, match=r"1 of .* weights are missing"):
            teacher_class(str(tmp_path / "less.pt"), **options)


def test_the_three_orders_of_audioset_become_one() -> None:
    names = audioset.classes()
    assert len(names) == 527
    assert list(names.values())[:2] == ["Speech", "Male speech, man speaking"]
    labels, columns = audioset.in_mid_order(list(names))
    assert list(labels) == sorted(names)
    logits = torch.arange(527).float()
    assert logits[columns][labels.index("/m/09x0r")] == 0  # Speech is the first of the csv
    assert _labels(dict(enumerate(names.values()))) == list(names)
    assert audioset.in_mid_order(["dog", "cat"]) == (("dog", "cat"), pytest.approx(torch.tensor([0, 1])))


def test_windows_longer_than_the_network_sees_are_refused(options: Options) -> None:
    for name in ("ast", "ssast", "passt", "clap"):
        with pytest.raises(UserError, match="at once"):
            distill.create_teacher(name, **options[name], windows={"seconds": 30.0})


def test_an_unknown_value_of_an_option_is_refused(options: Options) -> None:
    for name, option in (
        ("beats", "mask"), ("clap", "embedding"), ("clap", "padding"), ("ssast", "pooling"), ("matpac", "frequency"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"--teacher.{option} 'odd'"):
            distill.create_teacher(name, **options[name] | {option: "odd"})
    for windows in ({"seconds": -1.0}, {"pooling": "odd"}, {"size": 1.0}):
        with pytest.raises(UserError, match=r"--teacher\.windows"):
            distill.create_teacher("spectral", windows=windows)
