"""HEAR's first stage against the official code: losses, gradients and codes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import distill
from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.objectives.tokenizer import TokenizerDistillation
from distill.students.hear.official import from_official_blocks, to_official_acoustic, to_official_blocks
from distill.students.hear.students import HearTokenizer
from distill.teachers.teacher import Teacher
from tests.students.hear.golden import OVERLAP, TINY, assert_gradients, inputs, outputs, short_batch
from tests.students.hear.tiny import HEAR_OPTIONS


class FixedFrames(Teacher):
    """A teacher with fixed frames, every 20 ms."""

    sample_rate = 16_000

    def __init__(self, frames: Tensor) -> None:
        super().__init__()
        self.frames = frames

    def encode(self, batch: AudioBatch) -> Embeddings:
        frames = self.frames[: len(batch)]
        times = 0.0175 + 0.02 * torch.arange(frames.shape[1])
        return Embeddings.of_frames(frames, times, torch.ones(frames.shape[:2], dtype=torch.bool))


@pytest.fixture
def stage1() -> TokenizerDistillation:
    """The tiny golden framework, its official weights under our names."""
    file = TINY / "tokenizer_framework.state_dict.safetensors"
    student = HearTokenizer(checkpoint=str(file), overlap=OVERLAP, official=True)
    objective = TokenizerDistillation(
        student, {"ssast": FixedFrames(inputs()["teacher"])}, alignment="index", code_dim=8, hidden=20, intermediate=40,
        heads=2, layers=1,
    )  # fmt: skip
    state = load_file(file)
    blocks = {key.removeprefix("decoder."): t for key, t in state.items() if key.startswith("decoder.layers.")}
    objective.decoder.load_state_dict(
        {key.removeprefix("layers."): tensor for key, tensor in from_official_blocks(blocks).items()}
    )
    for name, module in official_parts(objective).items():
        module.load_state_dict({part: state[f"{name}.{part}"] for part in module.state_dict()})
    objective.quantizer.codebook.data = state["vector_quantizer.code_book"][0]
    return objective.eval()


def official_parts(objective: TokenizerDistillation) -> dict[str, nn.Module]:
    return {
        "decoder.out_layer.linear": objective.shared[0], "decoder.out_layer.layer_norm": objective.shared[2],
        "decoder.out_layer.out_linear": objective.to_mel,
        "decoder.out_layer.out_linear2": objective.to_teacher["ssast"],
        "vector_quantizer.linear": objective.quantizer.project,
    }  # fmt: skip


def official_gradients(objective: TokenizerDistillation) -> dict[str, Tensor]:
    """Gradients by the official keys."""
    student = objective.student
    acoustic = {name: p.grad for name, p in student.acoustic.named_parameters() if p.grad is not None}
    found = {f"tokenizer.encoder.{key}": tensor for key, tensor in to_official_acoustic(acoustic).items()}
    found |= {f"tokenizer.linear.{name}": p.grad for name, p in student.to_codes.named_parameters()}
    blocks = {f"layers.{name}": p.grad for name, p in objective.decoder.named_parameters()}
    found |= {f"decoder.{key}": tensor for key, tensor in to_official_blocks(blocks).items()}
    for stem, module in official_parts(objective).items():
        found |= {f"{stem}.{name}": p.grad for name, p in module.named_parameters()}
    return found | {"vector_quantizer.code_book": objective.quantizer.codebook.grad.unsqueeze(0)}


@pytest.mark.parametrize("temperature", ["2.0", "0.5"])
def test_stage_one_equals_the_official_code(temperature: str, stage1: TokenizerDistillation) -> None:
    stage1.quantizer.temperature.fill_(float(temperature))
    losses = stage1(short_batch(), noise=inputs()["vq.gumbel"])
    raw = torch.stack([losses[name] for name in ("reconstruction", "ssast", "diversity")])
    torch.testing.assert_close(raw.detach(), outputs()[f"stage1.losses_raw.tau{temperature}"], atol=1e-5, rtol=1e-4)
    total = stage1.total(losses)
    weighted = outputs()[f"stage1.losses_weighted.tau{temperature}"]
    torch.testing.assert_close(total.detach(), weighted.sum(), atol=1e-5, rtol=1e-4)
    total.backward()
    found = official_gradients(stage1)
    assert_gradients(found, f"stage1.grad.tau{temperature}.", at_least=60)


def test_the_quantizer_equals_the_official_one(stage1: TokenizerDistillation) -> None:
    logits, noise = outputs()["tok.logits"], inputs()["vq.gumbel"]
    inside = torch.arange(50) < outputs()["tok.lengths"].unsqueeze(1)
    quantized = stage1.quantizer(logits, inside, noise)
    assert quantized.codes.equal(outputs()["vq.index"])
    torch.testing.assert_close(quantized.vectors.detach(), outputs()["vq.quantized"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(quantized.diversity, outputs()["vq.diversity_raw"], atol=1e-7, rtol=1e-4)
    stage1.after_step(1)
    assert float(stage1.quantizer.temperature) == pytest.approx(float(outputs()["vq.temperature_after_one_update"]))


def test_evaluation_of_stage_one_draws_no_noise(stage1: TokenizerDistillation) -> None:
    first, second = (stage1.total(stage1(short_batch())) for _ in range(2))
    assert first.equal(second)
    stage1.train()
    assert not stage1.total(stage1(short_batch())).equal(stage1.total(stage1(short_batch())))


def test_stage_one_learns_and_saves_its_temperature(sounds: Callable[..., Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "data": str(sounds(8, seconds=0.6)),
        "student": {"class_path": "hear_tokenizer", "init_args": {**HEAR_OPTIONS, "codes": 8}},
        "teacher": "spectral", "objective": {"class_path": "tokenizer", "init_args": {**HEAR_OPTIONS, "code_dim": 4}},
        "live": True, "batch_size": 4, "validation": 0.0, "engine": {"workers": 0, "accelerator": "cpu"},
        "optimizer": {"learning_rate": 3e-3, "schedule": "constant"},
    }  # fmt: skip
    distill.fit(**settings, out=str(tmp_path / "whole"), epochs=30)
    with open(tmp_path / "whole" / "metrics.csv", newline="") as file:
        losses = [float(row["reconstruction"]) for row in csv.DictReader(file) if row["loss"]]
    assert losses[-1] < 0.8 * losses[0]
    checkpoint = torch.load(max((tmp_path / "whole" / "checkpoints").glob("*.ckpt")), weights_only=True)
    temperature = checkpoint["state_dict"]["objective.quantizer.temperature"]
    assert float(temperature) == pytest.approx(2.0 * 0.999995**60)


def test_reconstruction_counts_valid_frames_only() -> None:
    student = HearTokenizer(**HEAR_OPTIONS, codes=8, dropout=0.0)
    teacher = FixedFrames(torch.randn(2, 60, 5))
    objective = TokenizerDistillation(student, {"fixed": teacher}, alignment="index", code_dim=4, **HEAR_OPTIONS).eval()
    clips = AudioBatch.of(torch.randn(2, 16_000) * 0.1, 16_000, torch.tensor([16_000, 9_000]))
    losses = {name: loss.item() for name, loss in objective(clips).items()}
    mel, rebuilt = objective.reconstruct(clips)
    lengths = student.tokens(clips).lengths.tolist()
    errors = [((mel[b, : 2 * n] - rebuilt[b, : 2 * n]) ** 2).detach() for b, n in enumerate(lengths)]
    expected = np.concatenate([error.numpy().ravel() for error in errors]).mean()
    assert losses["reconstruction"] == pytest.approx(float(expected), rel=1e-4)
    assert 0 < losses["fixed"] < 2


def test_a_loss_between_frames_can_have_options_but_not_clusters() -> None:
    student = HearTokenizer(hidden=8, intermediate=8, heads=2, layers=1, codes=16)
    teachers = {"fixed": FixedFrames(torch.randn(2, 50, 6))}
    loss = {"class_path": "contrastive", "init_args": {"temperature": 0.5}}
    objective = TokenizerDistillation(student, teachers, loss=loss, hidden=8, heads=2)
    sounds = AudioBatch.of(torch.randn(2, 16_000), 16_000)
    objective(sounds)["fixed"].backward()
    assert float(objective.loss.log_scale.exp()) == pytest.approx(2.0)
    assert objective.to_teacher["fixed"].weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="no clusters"):
        TokenizerDistillation(student, teachers, loss="hybrid", hidden=8, heads=2)
