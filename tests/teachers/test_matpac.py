"""MATPAC against a slow transcription of its formulas, because official numbers are not available."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn

from distill.data.encoders import audioset
from distill.data.errors import UserError
from distill.teachers.matpac import MATPAC, MATPACNetwork
from tests.teachers.golden import vision_state
from tests.teachers.tiny import TinyTeacher

HEADS, DIM, ROWS = 2, 32, 5


def matpac_state(unit: int = 608, dim: int = 32, depth: int = 2, classes: int = 0) -> dict[str, Tensor]:
    """Return random weights under the official keys."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    state = {
        "cls_token": random(1, 1, dim),
        "pos_embed": random(1, 1 + 5 * unit // 16, dim),
        "patch_embed.proj.weight": random(dim, 1, 16, 16) * 0.1,
        "patch_embed.proj.bias": random(dim),
        "student_encoder.norm.weight": 1 + random(dim),
        "student_encoder.norm.bias": random(dim),
    }
    shapes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (2 * dim, dim), "mlp.fc2": (dim, 2 * dim)}
    for block in range(depth):
        stem = f"student_encoder.blocks.{block}."
        for norm in ("norm1", "norm2"):
            state |= {f"{stem}{norm}.weight": 1 + random(dim), f"{stem}{norm}.bias": random(dim)}
        for name, shape in shapes.items():
            state |= {f"{stem}{name}.weight": random(*shape), f"{stem}{name}.bias": random(shape[0])}
    if classes:
        state |= {"head_norm.running_mean": random(dim), "head_norm.running_var": random(dim).abs() + 0.5}
        state |= {"head.weight": random(classes, dim), "head.bias": random(classes)}
    return state


def save_matpac(folder: Path) -> dict[str, Any]:
    torch.save(matpac_state(), folder / "matpac.pt")
    return {"checkpoint": str(folder / "matpac.pt"), "heads": HEADS}


def build_matpac() -> nn.Module:
    state = {f"student_encoder.{key}": tensor for key, tensor in vision_state(768, 12).items()}
    state |= {"cls_token": torch.empty(1, 1, 768), "pos_embed": torch.empty(1, 1 + 5 * 38, 768)}
    return MATPACNetwork(state, 0)


def layer_norm(vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = vector - vector.mean()
    return centred / (centred.square().mean() + 1e-6).sqrt() * weight + bias


def attention(tokens: list[Tensor], state: dict[str, Tensor], stem: str) -> list[Tensor]:
    """Attend one head after another, one query after another."""
    projected = [state[stem + "qkv.weight"] @ token + state[stem + "qkv.bias"] for token in tokens]
    size = DIM // HEADS
    outputs = [torch.zeros(DIM, dtype=torch.float64) for _ in tokens]
    for head in range(HEADS):
        query, key, value = (
            torch.stack([p[part * DIM + head * size : part * DIM + (head + 1) * size] for p in projected])
            for part in range(3)
        )
        for place, one in enumerate(query):
            weights = torch.softmax(key @ one / math.sqrt(size), dim=0)
            outputs[place][head * size : (head + 1) * size] = weights @ value
    return [state[stem + "proj.weight"] @ output + state[stem + "proj.bias"] for output in outputs]


def gelu(values: Tensor) -> Tensor:
    return values * 0.5 * (1 + torch.erf(values / math.sqrt(2)))


def encode_piece(mel: Tensor, state: dict[str, Tensor], unit: int) -> Tensor:
    """Encode one piece: (80, time) -> (columns, 5 * dim)."""
    columns, whole = mel.shape[1] // 16, unit // 16
    tokens = [state["cls_token"][0, 0] + state["pos_embed"][0, 0]]
    for row in range(ROWS):
        for column in range(columns):
            patch = mel[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            token = (state["patch_embed.proj.weight"][:, 0] * patch).sum((1, 2)) + state["patch_embed.proj.bias"]
            tokens.append(token + state["pos_embed"][0, 1 + row * whole + column])
    for block in range(2):
        stem = f"student_encoder.blocks.{block}."
        normed = [layer_norm(t, state[stem + "norm1.weight"], state[stem + "norm1.bias"]) for t in tokens]
        tokens = [t + a for t, a in zip(tokens, attention(normed, state, stem + "attn."), strict=True)]
        for place, token in enumerate(tokens):
            hidden = layer_norm(token, state[stem + "norm2.weight"], state[stem + "norm2.bias"])
            hidden = gelu(state[stem + "mlp.fc1.weight"] @ hidden + state[stem + "mlp.fc1.bias"])
            tokens[place] = token + state[stem + "mlp.fc2.weight"] @ hidden + state[stem + "mlp.fc2.bias"]
    norm = (state["student_encoder.norm.weight"], state["student_encoder.norm.bias"])
    tokens = [layer_norm(token, *norm) for token in tokens[1:]]
    return torch.stack([torch.cat([tokens[row * columns + c] for row in range(ROWS)]) for c in range(columns)])


def reference(waveform: Tensor, state: dict[str, Tensor], unit: int) -> Tensor:
    """Encode a waveform at 16 kHz: (samples,) -> (columns, 5 * dim)."""
    mel = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=400, hop_length=160, f_min=50.0, f_max=8_000.0, n_mels=80, center=False, power=2.0,
        norm="slaney", mel_scale="slaney",
    )(waveform)  # fmt: skip
    mel = ((torch.log(mel + 1.1920929e-07) + 7.056) / 4.193).double()
    mel = torch.cat([mel, torch.zeros(80, (16 - mel.shape[1] % 16) % 16, dtype=torch.float64)], dim=1)
    state = {key: tensor.double() for key, tensor in state.items()}
    return torch.cat([encode_piece(piece, state, unit) for piece in mel.split(unit, dim=1)])


@pytest.mark.parametrize("seconds", [0.9, 7.0])  # one piece, and a piece and a part
def test_frames_and_clip_equal_the_formulas(tmp_path: Path, seconds: float) -> None:
    state = matpac_state()
    torch.save(state, tmp_path / "matpac.pt")
    waveform = torch.randn(int(16_000 * seconds)) * 0.1
    expected = reference(waveform, state, unit=608).float()
    embeddings = MATPAC(str(tmp_path / "matpac.pt"), heads=HEADS).embed(waveform, 16_000)
    torch.testing.assert_close(embeddings.frames[0], expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(embeddings.clip[0], expected.mean(0), atol=1e-4, rtol=0)
    mean = MATPAC(str(tmp_path / "matpac.pt"), heads=HEADS, frequency="mean").embed(waveform, 16_000)
    torch.testing.assert_close(mean.frames[0], expected.unflatten(1, (5, DIM)).mean(1), atol=2e-4, rtol=0)


def test_logits_equal_the_formulas(tmp_path: Path) -> None:
    state = matpac_state(992, classes=7)
    torch.save(state, tmp_path / "matpac.pt")
    waveform = torch.randn(20_000) * 0.1
    mean = reference(waveform, state, unit=992).float().unflatten(1, (5, DIM)).mean(1).mean(0)
    normed = (mean - state["head_norm.running_mean"]) / (state["head_norm.running_var"] + 1e-5).sqrt()
    logits = MATPAC(str(tmp_path / "matpac.pt"), heads=HEADS).embed(waveform, 16_000).logits[0]
    torch.testing.assert_close(logits, state["head.weight"] @ normed + state["head.bias"], atol=1e-4, rtol=0)


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


TINY = TinyTeacher(save_matpac, span=0.175, blur=0.002, one_file=True, published_network=build_matpac)
