"""EAT against its official code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from distill.data.batch import AudioBatch
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.eat import EAT
from distill.students.patch_transformer.student import PatchTransformer
from tests.students.patch_transformer.golden import assert_close, golden, source
from tests.teachers.tiny import TinyTeacher


def tiny_file(folder: Path, *, head: bool = False) -> str:
    """Write the golden weights as fairseq does, perhaps with the head of a fine-tuned network."""
    state = {key: t for key, t in golden("eat", "state_dict").items() if not key.startswith("_ema")}
    if head:
        inputs = golden("eat", "inputs")
        names = ("head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias")
        state = {f"model.{key}": t for key, t in state.items() if "decoder" not in key}
        state |= {f"model.{name}": inputs[f"ft.{name}"] for name in names}
    torch.save({"model": state}, folder / "eat.pt")
    return str(folder / "eat.pt")


class TestOfficialCode:
    expected = golden("eat", "outputs")

    def test_spectrogram_and_tokens(self, tmp_path: Path) -> None:
        model = EAT(tiny_file(tmp_path), heads=2).eval().model
        batch = AudioBatch.of(golden("eat", "inputs")["wav16k"], 16_000)
        assert_close(model.spectrogram(batch)[0], self.expected["fbank_padded160_normalised_as"], 1e-4)
        with torch.no_grad():
            assert_close(model.contextual(model.embed_patches(source("eat"))).tokens, self.expected["features_all"])

    def test_clip_and_frames_are_those_of_the_tokens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        teacher = EAT(tiny_file(tmp_path), heads=2)
        columns = torch.full((2,), 16)
        monkeypatch.setattr(teacher.model, "spectrogram", lambda batch: (source("eat"), columns))
        found = teacher.embed(torch.zeros(2, 256 * 160 + 240), 16_000)
        tokens = self.expected["features_all"]
        assert_close(found.clip, tokens[:, 0])
        assert_close(found.frames, tokens[:, 1:].unflatten(1, (16, 8)).mean(2))
        assert found.frame_mask.all()

    def test_logits_of_a_fine_tuned_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        teacher = EAT(tiny_file(tmp_path, head=True), heads=2)
        monkeypatch.setattr(teacher.model, "spectrogram", lambda batch: (source("eat"), torch.full((2,), 16)))
        assert_close(teacher.embed(torch.zeros(2, 41_200), 16_000).logits, self.expected["ft_logits"])
        assert teacher.labels == tuple("0123456")


def test_padding_to_a_fixed_input_is_not_valid(tmp_path: Path) -> None:
    file, waveform = tiny_file(tmp_path), torch.randn(2, 16_000) * 0.1
    found = EAT(file, heads=2, frames=1024).embed(waveform, 16_000, torch.tensor([16_000, 8_000]))
    assert found.frames.shape[1] == 64
    assert found.frame_mask.sum(1).tolist() == [6, 3]  # whole patches in 98 and 48 spectra
    assert EAT(file, heads=2).embed(waveform, 16_000).frames.shape[1] == 7
    with pytest.raises(UserError, match=r"--teacher\.windows\.seconds 20: must be at most 10\.255"):
        EAT(file, heads=2, frames=1024, windows=Windows(20.0))


def test_the_heads_are_one_for_each_64_of_width(tmp_path: Path) -> None:
    state = PatchTransformer(hidden=128, layers=1, heads=2).state_dict()
    torch.save(state, tmp_path / "wide.pt")
    blocks = EAT(str(tmp_path / "wide.pt")).model.blocks
    assert blocks[0].attn.heads == 2  # type: ignore[union-attr]


def build_eat() -> nn.Module:
    return PatchTransformer()


TINY = TinyTeacher(
    lambda folder: {"checkpoint": tiny_file(folder), "heads": 2},
    span=0.175,
    blur=0.002,
    level_free=True,
    one_file=True,
    published_network=build_eat,
)
