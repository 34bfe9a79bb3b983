"""The contract of every teacher: what is true of one name is true of all."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.store import StoreWriter
from distill.teachers.ast import AST
from distill.teachers.teacher import Teacher
from tests.conftest import GOLDEN

AST_FOLDER = str(GOLDEN / "ast" / "ast_tiny")
OPTIONS: dict[str, dict[str, str]] = {"ast": {"checkpoint": AST_FOLDER}, "spectral": {}}


@pytest.fixture(params=OPTIONS)
def teacher(request: pytest.FixtureRequest) -> Teacher:
    return distill.create_teacher(request.param, **OPTIONS[request.param])


def padded_batch() -> AudioBatch:
    waveform = torch.randn(3, 32_000) * 0.1
    lengths = torch.tensor([32_000, 17_321, 5_000])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    return AudioBatch.of(waveform, 16_000, lengths)


def test_every_teacher_is_in_the_contract() -> None:
    assert {*OPTIONS, "precomputed"} == set(distill.list_teachers())


def test_shapes_and_sizes_agree(teacher: Teacher) -> None:
    embeddings = teacher(padded_batch())
    assert embeddings.clip.shape == (3, teacher.clip_dim)
    assert embeddings.frames.shape == (3, len(embeddings.frame_times), teacher.frame_dim)
    assert embeddings.frame_mask.shape == embeddings.frames.shape[:2]
    assert embeddings.frame_mask.any(1).all()
    steps = embeddings.frame_times.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, teacher.frame_hop), atol=1e-4, rtol=0)


def test_a_padded_batch_gives_what_each_clip_alone_gives(teacher: Teacher) -> None:
    batch = padded_batch()
    together = teacher(batch)
    for row, length in enumerate(batch.lengths.tolist()):
        alone = teacher(AudioBatch.of(batch.waveform[row, :length], 16_000))
        torch.testing.assert_close(together.clip[row], alone.clip[0], atol=1e-4, rtol=0)
        inside = together.frame_mask[row]
        assert int(inside.sum()) == int(alone.frame_mask[0].sum())
        torch.testing.assert_close(
            together.frames[row, inside], alone.frames[0, alone.frame_mask[0]], atol=1e-4, rtol=0
        )


def test_nothing_to_train_save_or_switch(teacher: Teacher) -> None:
    holder = nn.ModuleDict({"teacher": teacher, "head": nn.Linear(2, 2)}).train()
    assert [name for name, _ in holder.named_parameters()] == ["head.weight", "head.bias"]
    assert set(holder.state_dict()) == {"head.weight", "head.bias"}
    assert not any(module.training for module in teacher.network.children())
    embeddings = teacher(padded_batch())
    assert not embeddings.clip.requires_grad


def test_two_passes_are_equal_after_a_parents_train(teacher: Teacher) -> None:
    batch = padded_batch()
    first = teacher(batch).clip
    nn.ModuleDict({"teacher": teacher}).train()
    assert teacher(batch).clip.equal(first)


def test_dtype_moves_reach_the_weights_and_copies_are_whole() -> None:
    teacher = distill.create_teacher("ast", checkpoint=AST_FOLDER)
    clone = copy.deepcopy(teacher)
    assert clone.parameter_count() == teacher.parameter_count() > 0
    nn.ModuleDict({"teacher": clone}).double()
    assert next(clone.network.parameters()).dtype == torch.float64
    assert next(teacher.network.parameters()).dtype == torch.float32


def test_a_bare_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match=r"nn\.Module"):
        distill.create_teacher("spectral").weight = nn.Parameter(torch.zeros(1))


def test_silence_has_a_finite_embedding(teacher: Teacher) -> None:
    assert teacher.embed(torch.zeros(8_000), 16_000).clip.isfinite().all()


def test_spectral_does_not_hear_the_level() -> None:
    teacher, waveform = distill.create_teacher("spectral"), torch.randn(16_000)
    loud, soft = teacher.embed(waveform * 0.5, 16_000).clip, teacher.embed(waveform * 0.05, 16_000).clip
    assert torch.cosine_similarity(loud, soft).item() > 0.999


def test_precomputed_finds_clips_by_id(tmp_path: Path) -> None:
    vectors = {"a": np.ones(4, dtype=np.float32), "b": np.zeros(4, dtype=np.float32)}
    StoreWriter(tmp_path, ["a", "b"], 4, {"sample_rate": 16_000}, "float32").write(0, vectors)
    teacher = distill.create_teacher("precomputed", store=str(tmp_path))
    batch = AudioBatch(torch.zeros(2, 10), torch.tensor([10, 10]), 16_000, ("b", "a"), torch.zeros(2, 0))
    assert teacher(batch).clip.tolist() == [[0.0] * 4, [1.0] * 4]


class TestASTEqualsTransformers:
    @pytest.fixture
    def outputs(self) -> dict[str, torch.Tensor]:
        return load_file(GOLDEN / "ast" / "outputs.safetensors")

    @pytest.fixture
    def inputs(self) -> dict[str, torch.Tensor]:
        stored = load_file(GOLDEN / "ast" / "inputs.safetensors")
        return {name: tensor.float() / 32768 for name, tensor in stored.items()}

    def test_front_end(self, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        teacher = AST(AST_FOLDER)
        long = teacher.spectrogram(AudioBatch.of(inputs["wav_10s_i16"], 16_000))[0]
        torch.testing.assert_close(long[:64], outputs["input_10s_head"], atol=1e-4, rtol=0)
        torch.testing.assert_close(long[496:530], outputs["input_10s_gap"], atol=1e-4, rtol=0)
        torch.testing.assert_close(long[990:], outputs["input_10s_tail"], atol=1e-4, rtol=0)
        short = teacher.spectrogram(AudioBatch.of(inputs["wav_batch_i16"], 16_000))
        torch.testing.assert_close(short[:, :300], outputs["input_batch_head"], atol=1e-4, rtol=0)

    @pytest.mark.parametrize(("clip", "name"), [("wav_10s_i16", "10s"), ("wav_batch_i16", "batch")])
    def test_clip_and_logits(
        self, clip: str, name: str, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]
    ) -> None:
        embeddings = AST(AST_FOLDER).embed(inputs[clip], 16_000)
        torch.testing.assert_close(embeddings.clip, outputs[f"pooler_{name}"], atol=1e-4, rtol=0)
        torch.testing.assert_close(embeddings.logits, outputs[f"logits_{name}"], atol=1e-4, rtol=0)

    def test_frames(self, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        embeddings = AST(AST_FOLDER).embed(inputs["wav_10s_i16"], 16_000)
        torch.testing.assert_close(embeddings.frames, outputs["frames_10s_mean"], atol=1e-4, rtol=0)
        assert embeddings.frame_times[0].item() == pytest.approx(0.0875)
        assert int(embeddings.frame_mask.sum()) == 99


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("RAN"),)  # type: ignore[return-value]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(AST_FOLDER, tmp_path / "ast"))


def test_a_missing_folder_and_an_unknown_hub_id_are_told(tmp_path: Path) -> None:
    for checkpoint in (str(tmp_path / "none"), "nobody/nothing"):
        with pytest.raises(UserError, match="checkpoint"):
            AST(checkpoint)


def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clap"}))
    with pytest.raises(UserError, match="'clap'"):
        AST(str(folder))


def test_a_truncated_checkpoint_is_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="cannot be read"):
        AST(str(folder))


def test_a_pickle_with_code_is_refused_and_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "model.safetensors").unlink()
    with open(folder / "pytorch_model.bin", "wb") as file:
        pickle.dump({"layernorm.weight": RunsCode()}, file)
    with pytest.raises(UserError, match="cannot be read"):
        AST(str(folder))
    assert not (folder / "RAN").exists()


def test_weights_that_are_missing_are_refused(folder: Path) -> None:
    from safetensors.torch import save_file

    state = load_file(folder / "model.safetensors")
    del state[next(key for key in state if "layer.1" in key)]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="missing"):
        AST(str(folder))
