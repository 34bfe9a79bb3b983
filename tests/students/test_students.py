"""The contract of every student, and MobileNetV3 against the official code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import distill
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.students.mobilenet_v3 import MobileNetV3
from distill.students.student import Student
from tests.conftest import GOLDEN

SMALL = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 2, "window": 40, "overlap": 10, "dropout": 0.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "hear": SMALL,
    "hear_classifier": {**SMALL, "classes": 3, "task_hidden": 12, "task_intermediate": 24, "head_hidden": 8,
                        "positions": 400, "head_dropout": 0.0},
    "hear_tokenizer": {**SMALL, "codes": 16},
    "mobilenet_v3": {"width": 0.1},
}  # fmt: skip


def test_every_student_is_in_the_contract() -> None:
    assert set(OPTIONS) == set(distill.list_students())


@pytest.fixture(params=OPTIONS)
def student(request: pytest.FixtureRequest) -> Student:
    student = distill.create_student(request.param, **OPTIONS[request.param])
    student.train()
    for _ in range(3):  # running statistics that differ from those at the start
        student(AudioBatch.of(torch.randn(4, 32_000), student.sample_rate))
    return student.eval()


def test_a_padded_batch_gives_what_each_clip_alone_gives(student: Student) -> None:
    rate = student.sample_rate
    waveform = torch.randn(4, 2 * rate) * 0.1
    lengths = torch.tensor([2 * rate, rate + 77, rate // 3, 500])
    for row, length in enumerate(lengths):
        waveform[row, length:] = 0
    together = student.embed(waveform, rate, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = student.embed(waveform[row, :length], rate)
        torch.testing.assert_close(together.clip[row], alone.clip[0], atol=1e-4, rtol=1e-4)
        assert int(together.frame_mask[row].sum()) == alone.frames.shape[1]


def test_every_weight_gets_a_gradient(student: Student) -> None:
    student.train()
    embeddings = student(AudioBatch.of(torch.randn(4, 32_000), student.sample_rate))
    (embeddings.clip.square().sum() + embeddings.logits.square().sum()).backward()
    for name, parameter in student.named_parameters():
        if not name.startswith("to_codes."):  # the vocabulary of the tokenizer stands beside its embedding
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_any_rate_and_length(student: Student) -> None:
    for samples, rate in ((100, 8_000), (44_100, 44_100), (50_000, 16_000)):
        assert student.embed(torch.randn(samples), rate).clip.shape == (1, student.clip_dim)


def test_embed_leaves_the_mode_alone_and_refuses_nothing(student: Student) -> None:
    student.train()
    student.embed(np.zeros(1000, dtype=np.float32), 16_000)
    assert student.training
    with pytest.raises(ValueError, match="no samples"):
        student.embed(torch.zeros(0), 16_000)


def official_state(name: str) -> dict[str, torch.Tensor]:
    """Weights of the golden model, made by the recipe in tests/golden/ssondo/README.md."""
    folder = GOLDEN / "ssondo"
    stored = np.load(folder / f"model_{name}_{'state' if name == 'mn01' else 'bnstats'}.npz")
    state = {}
    for line in (folder / f"keys_{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "affine":
            normal = np.random.RandomState(row["seed"]).standard_normal(row["shape"])
            state[row["key"]] = torch.from_numpy((row["scale"] * normal + row["offset"]).astype(np.float32))
        elif row["kind"] == "stored":
            state[row["key"]] = torch.from_numpy(stored[row["key"]])
        else:
            state[row["key"]] = torch.zeros((), dtype=torch.long)
    return state


def official(name: str, width: float, folder: Path) -> MobileNetV3:
    path = folder / "official.ckpt"
    torch.save({"state_dict": {f"student_model.{key}": value for key, value in official_state(name).items()}}, path)
    return MobileNetV3(width, checkpoint=str(path)).eval()


@pytest.mark.parametrize(("name", "width", "parameters"), [("mn01", 0.1, 43_384), ("mn10", 1.0, 2_971_664)])
def test_embeddings_equal_the_official_ones(name: str, width: float, parameters: int, tmp_path: Path) -> None:
    student = official(name, width, tmp_path)
    assert student.parameter_count() == parameters
    stored = np.load(GOLDEN / "ssondo" / f"model_{name}.npz")
    full = np.float32(2 * np.random.RandomState(1234).standard_normal((1, 1, 128, 624)) - 3)
    mel = stored.get("input", full)
    with torch.no_grad():
        embedding = student.encode_mel(torch.from_numpy(mel)[:, 0])[0].mean(1)
    expected = stored["embedding_f32"].reshape(embedding.shape)
    np.testing.assert_allclose(embedding.numpy(), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_a_training_pass_equals_the_official_one(tmp_path: Path) -> None:
    student = official("mn01", 0.1, tmp_path).double().train()
    stored = np.load(GOLDEN / "ssondo" / "model_mn01.npz")
    embedding = student.encode_mel(torch.from_numpy(stored["input"]).double()[:, 0])[0].mean(1)
    np.testing.assert_allclose(embedding.detach().numpy(), stored["train_embedding"][:, 0], rtol=1e-8, atol=1e-9)
    embedding.square().mean().backward()
    first = student.features[0]
    np.testing.assert_allclose(first[0].weight.grad.numpy(), stored["train_grad_first_conv"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        first[1].running_mean.numpy(), stored["train_first_bn_running_mean_after"], rtol=1e-6, atol=1e-9
    )


def test_bare_efficientat_keys_load_too(tmp_path: Path) -> None:
    state = {key.removeprefix("model."): value for key, value in official_state("mn01").items() if "head" not in key}
    save_file(state, tmp_path / "mn01.safetensors")
    student = MobileNetV3(0.1, checkpoint=str(tmp_path / "mn01.safetensors"))
    assert student.features[0][0].weight.equal(state["features.0.0.weight"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"PK\3\4 cut"), "damaged"),
        (lambda path: torch.save({"features.0.0.weight": torch.zeros(8, 1, 3, 3)}, path), "no MobileNetV3"),
        (lambda path: torch.save(official_state("mn10"), path), "set --student.width"),
        (lambda path: torch.save([1, 2], path), "no state dict"),
    ],
)
def test_wrong_checkpoints_are_refused(make, message: str, tmp_path: Path) -> None:
    make(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=message):
        MobileNetV3(0.1, checkpoint=str(tmp_path / "weights.pt"))
