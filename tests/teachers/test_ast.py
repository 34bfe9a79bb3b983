"""AST against its official code, what it loads, and what it refuses."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.data.fingerprint import weights_digest
from distill.run.identity import encoder_fingerprint
from distill.teachers.ast import AST
from tests.conftest import GOLDEN
from tests.teachers.golden import Golden, waveforms
from tests.teachers.tiny import RunsCode, TinyTeacher

AST_FOLDER = str(GOLDEN / "ast" / "ast_tiny")


def build_ast() -> nn.Module:
    from transformers import ASTConfig, ASTForAudioClassification

    return ASTForAudioClassification(ASTConfig(num_labels=527))


class TestAST:
    golden = Golden("ast", 1e-4)
    inputs = waveforms("ast")

    def test_front_end(self) -> None:
        teacher = AST(AST_FOLDER)
        long = teacher.spectrogram(AudioBatch.of(self.inputs["wav_10s_i16"], 16_000))[0]
        self.golden.check("input_10s_head", long[:64])
        self.golden.check("input_10s_gap", long[496:530])
        self.golden.check("input_10s_tail", long[990:])
        short = teacher.spectrogram(AudioBatch.of(self.inputs["wav_batch_i16"], 16_000))
        self.golden.check("input_batch_head", short[:, :300:8])

    @pytest.mark.parametrize(("clip", "name"), [("wav_10s_i16", "10s"), ("wav_batch_i16", "batch")])
    def test_clip_and_logits(self, clip: str, name: str) -> None:
        embeddings = AST(AST_FOLDER).embed(self.inputs[clip], 16_000)
        self.golden.check(f"pooler_{name}", embeddings.clip)
        self.golden.check(f"logits_{name}", embeddings.logits)

    def test_tokens(self) -> None:
        teacher = AST(AST_FOLDER)
        transformer = teacher.model.audio_spectrogram_transformer
        with torch.inference_mode():
            long = transformer(
                teacher.spectrogram(AudioBatch.of(self.inputs["wav_10s_i16"], 16_000)), output_hidden_states=True
            )
            short = transformer(teacher.spectrogram(AudioBatch.of(self.inputs["wav_batch_i16"], 16_000)))
        self.golden.check("last_hidden_10s", long.last_hidden_state)
        self.golden.check("hidden0_10s_sub", long.hidden_states[0][:, ::8])
        self.golden.check("hidden1_10s_sub", long.hidden_states[1][:, ::8])
        self.golden.check("last_hidden_batch_sub", short.last_hidden_state[:, ::5])

    def test_frames(self) -> None:
        embeddings = AST(AST_FOLDER).embed(self.inputs["wav_10s_i16"], 16_000)
        self.golden.check("frames_10s_mean", embeddings.frames)
        assert embeddings.frame_times[0].item() == pytest.approx(0.0875)
        assert int(embeddings.frame_mask.sum()) == 99


class TestASTFolders:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(AST_FOLDER, tmp_path / "ast"))

    def test_a_missing_folder_and_an_unknown_hub_id_are_refused(self, tmp_path: Path) -> None:
        for checkpoint in (str(tmp_path / "none"), "nobody/nothing"):
            with pytest.raises(UserError, match="checkpoint"):
                AST(checkpoint)

    def test_a_checkpoint_of_another_model_is_refused(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "clap"}))
        with pytest.raises(UserError, match="'clap'"):
            AST(str(folder))

    def test_the_generic_teacher_names_the_special_one(self) -> None:
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


def with_settings(source: str, folder: Path, **changes: Any) -> str:
    """Copy a folder in the layout of transformers, with other settings of its extractor. Return the copy."""
    copy = Path(shutil.copytree(source, folder / "copy"))
    settings = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(settings | changes))
    return str(copy)


@pytest.mark.parametrize("changes", [{}, {"mean": -6.8, "std": 5.5}, {"do_normalize": False}], ids=str)
def test_the_input_is_normalised_as_the_checkpoint_states(changes: dict[str, Any], tmp_path: Path) -> None:
    from transformers import ASTFeatureExtractor

    folder = with_settings(AST_FOLDER, tmp_path, **changes)
    waveform = torch.randn(1, 16_000) * 0.1
    extractor = ASTFeatureExtractor.from_pretrained(folder)
    official = extractor(waveform[0].numpy(), sampling_rate=16_000, return_tensors="pt")["input_values"]
    found = AST(folder).spectrogram(AudioBatch.of(waveform, 16_000))
    torch.testing.assert_close(found, official, atol=1e-3, rtol=0)


def test_settings_that_the_front_end_does_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sampling_rate 32000; must be 16000"):
        AST(with_settings(AST_FOLDER, tmp_path, sampling_rate=32_000))


def test_a_folder_without_settings_is_named(tmp_path: Path) -> None:
    (Path(folder := with_settings(AST_FOLDER, tmp_path)) / "preprocessor_config.json").unlink()
    with pytest.warns(UserWarning, match=r"has no preprocessor_config.json; the mean and deviation of AudioSet"):
        AST(folder)


def test_the_mean_of_an_extractor_is_in_the_fingerprint(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(AST_FOLDER, tmp_path / "ast"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"mean": settings["mean"] + 1}))
    official, other = (
        encoder_fingerprint(distill.create_teacher("ast", checkpoint=path)) for path in (AST_FOLDER, str(folder))
    )
    assert official["weights"] == other["weights"]
    assert official != other


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


def test_the_digest_of_weights_is_that_of_earlier_versions() -> None:
    """Stores of earlier versions are accepted only as long as the names in the state dict stay."""
    teacher = distill.create_teacher("ast", checkpoint=AST_FOLDER)
    teacher.model.register_buffer("scratch", torch.zeros(3), persistent=False)
    expected = "6031172ace6309ecdbcede7080ffddf0cd7d04d9b8b057b23abd550fc17c8dc4"
    assert weights_digest(teacher) == encoder_fingerprint(teacher)["weights"] == expected


TINY = TinyTeacher(lambda folder: {"checkpoint": AST_FOLDER}, span=0.175, blur=0.002, published_network=build_ast)
