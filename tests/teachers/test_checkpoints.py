"""What each teacher loads, and what it refuses in one line."""

from __future__ import annotations

import argparse
import json
import pickle
import re
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import distill
from distill.data.encoders import audioset
from distill.data.errors import UserError
from distill.run.embeddings import encoder_fingerprint
from distill.teachers.ast import AST, _labels
from distill.teachers.beats import BEATs
from distill.teachers.matpac import MATPAC
from distill.teachers.passt import PaSST
from distill.teachers.ssast import SSAST
from distill.teachers.teacher import Teacher
from tests.teachers.conftest import Options, matpac_state
from tests.teachers.test_golden import AST_FOLDER, BEATS_FINETUNED, BEATS_PRETRAINED, SSAST_FRAME, SSAST_PATCH

OF_ONE_FILE: dict[str, Callable[..., Teacher]] = {"beats": BEATs, "ssast": SSAST, "passt": PaSST, "matpac": MATPAC}
Published = tuple[Callable[..., Teacher], str, dict[str, Any]]


@pytest.fixture
def published(name: str, options: Options) -> Published:
    """A teacher's class, a file in its official format, and what else builds it."""
    needed = dict(options[name])
    return OF_ONE_FILE[name], needed.pop("checkpoint"), needed


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("RAN"),)  # type: ignore[return-value]


def state_of(file: str) -> dict[str, torch.Tensor]:
    content = torch.load(file, weights_only=True)
    return dict(content.get("model", content))


@pytest.mark.parametrize("name", OF_ONE_FILE)
class TestEveryFileFormat:
    def test_says_what_it_loaded(self, published: Published) -> None:
        teacher_class, file, options = published
        told = str(teacher_class(file, **options).provenance)
        assert file in told
        assert "sha256" in told

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


def test_a_beats_tokenizer_is_refused(tmp_path: Path) -> None:
    torch.save({"cfg": {"quant_n": 1024}, "model": {"quantize.embedding.weight": torch.zeros(2)}}, tmp_path / "t.pt")
    with pytest.raises(UserError, match="tokenizer"):
        BEATs(str(tmp_path / "t.pt"))


def test_beats_of_another_kind_is_refused(tmp_path: Path) -> None:
    content = torch.load(BEATS_PRETRAINED, weights_only=True)
    content["cfg"]["layer_norm_first"] = True
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(UserError, match="layer_norm_first"):
        BEATs(str(tmp_path / "other.pt"))


def test_a_missing_part_of_a_beats_attention_is_named_as_in_the_file(tmp_path: Path) -> None:
    content = torch.load(BEATS_PRETRAINED, weights_only=True)
    del content["model"]["encoder.layers.1.self_attn.v_proj.weight"]
    torch.save(content, tmp_path / "less.pt")
    with pytest.raises(UserError, match=r"'encoder\.layers\.1\.self_attn\.v_proj\.weight' is not in it"):
        BEATs(str(tmp_path / "less.pt"))


def test_the_positions_of_beats_are_those_of_its_first_layer(tmp_path: Path) -> None:
    content = torch.load(BEATS_PRETRAINED, weights_only=True)
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    content["model"][table.format(1)] = torch.zeros_like(content["model"][table.format(0)])
    torch.save(content, tmp_path / "zeros.pt")
    waveform = torch.randn(16_000)
    changed = BEATs(str(tmp_path / "zeros.pt")).embed(waveform, 16_000).clip
    assert changed.equal(BEATs(BEATS_PRETRAINED).embed(waveform, 16_000).clip)


def test_a_wav2vec2_without_its_vector_of_masking_is_loaded(options: Options, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(options["transformers"]["checkpoint"], tmp_path / "wav2vec2"))
    state = load_file(folder / "model.safetensors")
    del state["masked_spec_embed"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    waveform = torch.randn(16_000)
    left_out = distill.create_teacher("transformers", checkpoint=str(folder)).embed(waveform, 16_000).clip
    assert left_out.equal(
        distill.create_teacher("transformers", **options["transformers"]).embed(waveform, 16_000).clip
    )


def test_what_an_extractor_subtracts_is_in_the_fingerprint(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(AST_FOLDER, tmp_path / "ast"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"mean": settings["mean"] + 1}))
    official, other = (encoder_fingerprint(AST(path)) for path in (AST_FOLDER, str(folder)))
    assert official["weights"] == other["weights"]
    assert official != other


@pytest.mark.parametrize("key", [int, str])
def test_beats_logits_are_in_the_order_of_mid(key: Callable[[int], object], tmp_path: Path) -> None:
    content = torch.load(BEATS_FINETUNED, weights_only=True)
    content["label_dict"] = {key(column): f"/m/{9 - column}" for column in range(10)}
    torch.save(content, tmp_path / "reversed.pt")
    waveform = torch.randn(16_000)
    turned, straight = BEATs(str(tmp_path / "reversed.pt")), BEATs(BEATS_FINETUNED)
    assert turned.labels == tuple(f"/m/{column}" for column in range(10))
    assert turned.embed(waveform, 16_000).logits.equal(straight.embed(waveform, 16_000).logits.flip(1))


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


def test_527_labels_that_are_not_audiosets_are_said() -> None:
    with pytest.warns(UserWarning, match="'0' first"):
        audioset.in_mid_order([str(column) for column in range(527)])


def test_weights_in_several_files_have_one_sha256(tmp_path: Path) -> None:
    from transformers import ASTModel

    ASTModel.from_pretrained(AST_FOLDER).save_pretrained(tmp_path, max_shard_size="50KB")
    shutil.copy(Path(AST_FOLDER) / "preprocessor_config.json", tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    first = AST(str(tmp_path)).provenance
    assert first is not None
    assert re.fullmatch("[0-9a-f]{64}", first.sha256)
    last = max(tmp_path.glob("model-*.safetensors"))
    save_file({key: tensor + 1 for key, tensor in load_file(last).items()}, last, {"format": "pt"})
    second = AST(str(tmp_path)).provenance
    assert second is not None
    assert second.sha256 != first.sha256


def test_a_patch_file_for_a_frame_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"16 x 16.*SSAST-Base-Frame-400"):
        SSAST(SSAST_PATCH, kind="frame", heads=4)
    with pytest.raises(UserError, match=r"128 x 2.*SSAST-Base-Patch-400"):
        SSAST(SSAST_FRAME, kind="patch", heads=4)


def test_a_file_of_ast_is_no_ssast(tmp_path: Path) -> None:
    state = torch.load(SSAST_PATCH, weights_only=True)
    state = {key: tensor for key, tensor in state.items() if "p_input_fdim" not in key}
    (place,) = (key for key in state if key.endswith("v.pos_embed"))
    state[place] = torch.zeros(1, 2 + 12 * 101, state[place].shape[2])
    torch.save(state, tmp_path / "ast.pth")
    for strides in ({}, {"stride": 10, "frequency_stride": 10}):
        with pytest.raises(UserError, match=r"AST's own file.*--teacher ast"):
            SSAST(str(tmp_path / "ast.pth"), heads=4, **strides)


@pytest.mark.parametrize("heads", [-1, 5])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int) -> None:
    with pytest.raises(UserError, match=r"--teacher\.heads"):
        SSAST(SSAST_FRAME, heads=heads)


def test_windows_longer_than_the_network_sees_are_refused(options: Options) -> None:
    for name in ("ast", "ssast", "passt", "clap"):
        with pytest.raises(UserError, match="at once"):
            distill.create_teacher(name, **options[name], windows={"seconds": 30.0})


def test_an_option_of_no_meaning_is_refused(options: Options) -> None:
    for name, option in (
        ("beats", "mask"), ("clap", "embedding"), ("clap", "padding"), ("ssast", "pooling"), ("matpac", "frequency"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"--teacher.{option} 'odd'"):
            distill.create_teacher(name, **options[name] | {option: "odd"})
    for windows in ({"seconds": -1.0}, {"pooling": "odd"}, {"size": 1.0}):
        with pytest.raises(UserError, match=r"--teacher\.windows"):
            distill.create_teacher("spectral", windows=windows)


def test_matpac_training_file_without_the_encoder_is_refused(tmp_path: Path) -> None:
    state = {"decoder.norm.weight": torch.zeros(2), "_ema": {"cls_token": torch.zeros(1)}}
    torch.save({"model": state, "cfg": {"lr": 1.0}}, tmp_path / "train.pt")
    with pytest.raises(UserError, match="not a MATPAC encoder"):
        MATPAC(str(tmp_path / "train.pt"))


def test_matpac_training_file_with_the_encoder_is_read(tmp_path: Path) -> None:
    extra = {"decoder.norm.weight": torch.zeros(2), "_ema": {"cls_token": torch.zeros(1)}}
    torch.save({"model": matpac_state() | extra, "epoch": 3}, tmp_path / "train.pt")
    teacher = MATPAC(str(tmp_path / "train.pt"), heads=2)
    assert teacher.provenance is not None
    assert teacher.provenance.dropped == ("decoder.norm.weight",)


def test_a_path_with_as_in_it_switches_nothing(tmp_path: Path) -> None:
    # The official rule looks for "as" anywhere in the path and then expects another length.
    folder = tmp_path / "tasks"
    folder.mkdir()
    torch.save(matpac_state(608), folder / "dataset_as.pt")
    assert MATPAC(str(folder / "dataset_as.pt"), heads=2).model.columns == 38
    torch.save(matpac_state(992, classes=527), tmp_path / "tuned.pt")
    tuned = MATPAC(str(tmp_path / "tuned.pt"), heads=2)
    assert tuned.model.columns == 62
    assert list(tuned.labels) == sorted(audioset.classes())


class TestASTFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(AST_FOLDER, tmp_path / "ast"))

    def test_a_missing_folder_and_an_unknown_hub_id_are_told(self, tmp_path: Path) -> None:
        for checkpoint in (str(tmp_path / "none"), "nobody/nothing"):
            with pytest.raises(UserError, match="checkpoint"):
                AST(checkpoint)

    def test_a_checkpoint_of_another_model_is_refused(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "clap"}))
        with pytest.raises(UserError, match="'clap'"):
            AST(str(folder))

    def test_the_generic_teacher_points_to_the_special_one(self) -> None:
        with pytest.raises(UserError, match="--teacher ast"):
            distill.create_teacher("transformers", checkpoint=AST_FOLDER)

    def test_a_truncated_checkpoint_is_refused(self, folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
        with pytest.raises(UserError, match="cannot be read"):
            AST(str(folder))

    def test_a_pickle_with_code_is_refused_and_not_run(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        (folder / "model.safetensors").unlink()
        with open(folder / "pytorch_model.bin", "wb") as file:
            pickle.dump({"layernorm.weight": RunsCode()}, file)
        with pytest.raises(UserError, match="cannot be read"):
            AST(str(folder))
        assert not (folder / "RAN").exists()

    def test_weights_that_are_missing_are_refused(self, folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        del state[next(key for key in state if "layer.1" in key)]
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match="missing"):
            AST(str(folder))

    def test_a_headless_checkpoint_has_no_logits(self, folder: Path) -> None:
        state = {key: t for key, t in load_file(folder / "model.safetensors").items() if "classifier" not in key}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        teacher = AST(str(folder))
        assert teacher.labels == ()
        assert teacher.embed(torch.randn(16_000), 16_000).logits.shape == (1, 0)
