"""Checkpoints of all teachers: formats that are read, and files that are refused in one line."""

from __future__ import annotations

import argparse
import inspect
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import distill
from distill.data.encoders import audioset
from distill.data.errors import UserError
from distill.teachers import TEACHERS
from distill.teachers.ast import _labels
from distill.teachers.teacher import Teacher
from tests.checkpoint_files import copy_in_dtype
from tests.teachers.tiny import Options, RunsCode, TinyTeacher, teacher_names


class Settings:
    """A class of a training program."""


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

    @pytest.mark.parametrize("name_of_state", ["", "state_dict", "model_state_dict", "net", "ema", "params"])
    @pytest.mark.parametrize("prefix", ["", "module.", "model.net.", "_orig_mod.", "frontend.upstream."])
    def test_a_wrapper_before_the_keys_changes_nothing(
        self, published: Published, prefix: str, name_of_state: str, tmp_path: Path
    ) -> None:
        teacher_class, file, options = published
        state = {prefix + key.removeprefix("module."): tensor for key, tensor in state_of(file).items()}
        torch.save({name_of_state: state, "epoch": 3} if name_of_state else state, tmp_path / "wrapped.pt")
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

    def test_a_training_file_with_hyper_parameters_is_read(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        settings = argparse.Namespace(rate=np.float32(0.1), folder=tmp_path)
        torch.save({"state_dict": state_of(file), "hyper_parameters": {"args": settings}}, tmp_path / "last.ckpt")
        waveform = torch.randn(16_000)
        trained = teacher_class(str(tmp_path / "last.ckpt"), **options).embed(waveform, 16_000).clip
        assert trained.equal(teacher_class(file, **options).embed(waveform, 16_000).clip)

    def test_a_training_file_with_other_objects_is_refused(self, published: Published, tmp_path: Path) -> None:
        torch.save({"model": state_of(published[1]), "args": Settings()}, tmp_path / "train.pt")
        with pytest.raises(UserError, match=r"code or objects besides tensors \(.*test_checkpoints.Settings\)"):
            published[0](str(tmp_path / "train.pt"))

    def test_of_two_networks_one_can_be_chosen(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        state = {key.removeprefix("module."): tensor for key, tensor in state_of(file).items()}
        other = {key: t * 0.5 if t.is_floating_point() and t.dim() > 1 else t for key, t in state.items()}
        both = {f"net.{key}": t for key, t in state.items()} | {f"net_swa.module.{key}": t for key, t in other.items()}
        torch.save({"state_dict": both}, path := tmp_path / "both.ckpt")
        torch.save({"model": state, "ema": other}, beside := tmp_path / "beside.pt")
        torch.save(other, tmp_path / "other.pt")
        waveform = torch.randn(16_000)

        def clip(checkpoint: str | Path) -> torch.Tensor:
            return teacher_class(str(checkpoint), **options).embed(waveform, 16_000).clip

        first, second = clip(file), clip(tmp_path / "other.pt")
        assert not first.equal(second)
        for chosen, expected in (("net", first), ("net_swa", second)):
            assert clip(f"{path}#{chosen}").equal(expected)
        with pytest.warns(UserWarning, match=r"'net' is used. To use 'net_swa.module': .*both.ckpt#net_swa.module"):
            assert clip(path).equal(first)
        with pytest.warns(UserWarning, match=r"'model' is used. To use 'ema': .*beside.pt#ema"):
            assert clip(beside).equal(first)
        assert clip(f"{beside}#ema").equal(second)
        with pytest.raises(UserError, match="no weights under 'emma'; there are"):
            clip(f"{beside}#emma")

    def test_a_checkpoint_of_another_model(self, published: Published, tmp_path: Path) -> None:
        torch.save(OrderedDict({"layer.weight": torch.zeros(2, 2)}), tmp_path / "other.pt")
        with pytest.raises(UserError, match=r"'layer\.weight'"):
            published[0](str(tmp_path / "other.pt"))

    def test_one_weight_too_few(self, published: Published, tmp_path: Path) -> None:
        teacher_class, file, options = published
        state = state_of(file)
        del state[next(key for key in state if key.endswith(("1.fc2.bias", "1.mlp.fc2.bias", "2.bn2.bias")))]
        torch.save(state, tmp_path / "less.pt")
        with pytest.raises(UserError, match=r"1 of .* weights are missing"):
            teacher_class(str(tmp_path / "less.pt"), **options)


def _reads_a_checkpoint(name: str) -> bool:
    return "checkpoint" in inspect.signature(TEACHERS.find(name)).parameters


def _has_tensors(tiny: TinyTeacher) -> bool:
    return tiny.encodes_audio and not tiny.is_graph


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [name for name in teacher_names(_has_tensors) if _reads_a_checkpoint(name)])
def test_weights_of_half_precision_are_read_as_float32(
    name: str, dtype: torch.dtype, options: Options, tmp_path: Path
) -> None:
    original = distill.create_teacher(name, **options[name])
    assert original.provenance is not None
    file = options[name].get("checkpoint", original.provenance.file)  # one teacher ships its own file
    half = distill.create_teacher(name, **{**options[name], "checkpoint": copy_in_dtype(file, dtype, tmp_path)})
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float32}
    waveform = torch.randn(original.sample_rate) * 0.1
    found, expected = (teacher.embed(waveform, original.sample_rate).clip for teacher in (half, original))
    torch.testing.assert_close(found, expected, atol=0.1 * max(1.0, float(expected.abs().max())), rtol=0)
    assert not found.equal(expected)


def test_a_file_of_the_authors_names_the_way_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "own.pth").touch()
    for name, hint in (("ast", "MIT/ast-finetuned"), ("clap", "laion/clap-htsat")):
        with pytest.raises(UserError, match=rf"own.pth: must be a folder or a hub id, not a file; .*{hint}.*convert_"):
            distill.create_teacher(name, checkpoint=str(tmp_path / "own.pth"))
    (tmp_path / "config.json").touch()
    with pytest.raises(UserError, match=f"use its folder {tmp_path}$"):
        distill.create_teacher("ast", checkpoint=str(tmp_path / "own.pth"))


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
