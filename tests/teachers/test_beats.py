"""BEATs against its official code, what it loads, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.beats import (
    BEATs,
    BEATsNetwork,
    PositionConvolution,
    official_token_mask,
    relative_bucket,
    wholly_padded,
)
from tests.conftest import GOLDEN
from tests.teachers.golden import Golden, waveforms
from tests.teachers.tiny import TinyTeacher

BEATS_PRETRAINED = str(GOLDEN / "beats" / "beats_tiny_pretrained.pt")
BEATS_FINETUNED = str(GOLDEN / "beats" / "beats_tiny_finetuned.pt")


def build_beats() -> nn.Module:
    shapes = {
        "patch_embedding.weight": (512, 1, 16, 16), "post_extract_proj.weight": (768, 512),
        "encoder.pos_conv.0.weight": (768, 48, 128), "encoder.relative_attention_bias.weight": (320, 12),
        "encoder.layers.0.self_attn.grep_a": (1, 12, 1, 1),
    }  # fmt: skip
    shapes |= {f"encoder.layers.{layer}.fc1.weight": (3072, 768) for layer in range(12)}
    return BEATsNetwork({key: torch.empty(shape) for key, shape in shapes.items()}, 800)


class TestBEATs:
    golden = Golden("beats", 2e-4)
    inputs = waveforms("beats")
    lengths = torch.tensor([48_000, 35_200])

    def batch(self, padded: bool) -> AudioBatch:
        return AudioBatch.of(self.inputs["wav_batch_i16"], 16_000, self.lengths if padded else None)

    def test_front_end(self) -> None:
        teacher = BEATs(BEATS_PRETRAINED)
        self.golden.check("fbank_batch", teacher.spectrogram(self.batch(padded=False))[:, ::8])
        long = teacher.spectrogram(AudioBatch.of(self.inputs["wav_10s_i16"], 16_000))[0]
        self.golden.check("fbank_10s_head", long[:64])
        self.golden.check("fbank_10s_gap", long[496:530])

    def test_official_mask(self) -> None:
        outputs = self.golden.outputs
        assert (~official_token_mask(self.batch(padded=True), torch.tensor(298))).equal(outputs["token_mask_batch"])
        short = AudioBatch.of(self.inputs["wav_short_i16"], 16_000, torch.tensor([3300]))
        assert (~official_token_mask(short, torch.tensor(29))).equal(outputs["token_mask_short"])
        for batch, frames, name in ((self.batch(padded=True), 298, "batch"), (short, 29, "short")):
            padded = torch.arange(batch.waveform.shape[1]) >= batch.lengths.unsqueeze(1)
            assert wholly_padded(padded, frames).equal(outputs[f"frame_mask_{name}"])

    def test_relative_positions(self) -> None:
        assert relative_bucket(torch.arange(-1000, 1001), 320, 800).equal(self.golden.outputs["rel_bucket"])
        teacher = BEATs(BEATS_PRETRAINED)
        self.golden.check("rel_bias_16", teacher.model.encoder.bias(16).detach())

    def test_tokens_and_features(self) -> None:
        teacher, masked = BEATs(BEATS_PRETRAINED), self.batch(padded=True)
        inside = official_token_mask(masked, torch.tensor(298))
        after: list[Tensor] = []
        encoder = teacher.model.encoder
        for module in (encoder.layer_norm, *encoder.layers):
            module.register_forward_hook(lambda module, inputs, output: after.append(output))
        with torch.inference_mode():
            tokens = teacher.model.tokens(teacher.spectrogram(masked))
            self.golden.check("tokens_batch", tokens)
            self.golden.check("feat_batch_mask", teacher.model(tokens, inside))
            self.golden.check("layers_batch_mask", torch.stack(after)[..., ::4])
            self.golden.check("feat_batch_nomask", teacher.model(tokens, torch.ones_like(inside)))
            for clip, name in (
                (self.inputs["wav_10s_i16"], "feat_10s"), (self.inputs["wav_batch_i16"][1:, :35_200], "feat_single"),
            ):  # fmt: skip
                tokens = teacher.model.tokens(teacher.spectrogram(AudioBatch.of(clip, 16_000)))
                self.golden.check(name, teacher.model(tokens, torch.ones(1, tokens.shape[1], dtype=torch.bool)))
            short = AudioBatch.of(self.inputs["wav_short_i16"], 16_000, torch.tensor([3300]))
            tokens = teacher.model.tokens(teacher.spectrogram(short))
            self.golden.check("feat_short_mask", teacher.model(tokens, official_token_mask(short, torch.tensor(29))))
            finetuned = BEATs(BEATS_FINETUNED)
            tokens = finetuned.model.tokens(finetuned.spectrogram(masked))
            self.golden.check("ft_feat_batch_mask", finetuned.model(tokens, inside))

    def test_clip_and_frames(self) -> None:
        self.golden.check("pooled_batch_nomask", BEATs(BEATS_PRETRAINED)(self.batch(padded=False)).clip)
        self.golden.check("pooled_batch_mask", BEATs(BEATS_PRETRAINED, mask="official")(self.batch(padded=True)).clip)
        long = BEATs(BEATS_PRETRAINED).embed(self.inputs["wav_10s_i16"], 16_000)
        self.golden.check("pooled_10s", long.clip)
        self.golden.check("frames_10s_mean", long.frames)

    def test_the_exact_mask_gives_the_clip_alone_and_the_official_one_does_not(self) -> None:
        alone = self.golden.outputs["feat_single"].mean(1)[0]
        exact = BEATs(BEATS_PRETRAINED)(self.batch(padded=True)).clip[1]
        official = BEATs(BEATS_PRETRAINED, mask="official")(self.batch(padded=True)).clip[1]
        torch.testing.assert_close(exact, alone, atol=1e-4, rtol=0)
        assert (official - alone).abs().max() > 1e-2

    @pytest.mark.parametrize(("name", "mask"), [("batch_nomask", "exact"), ("batch_mask", "official")])
    def test_logits(self, name: str, mask: str) -> None:
        teacher = BEATs(BEATS_FINETUNED, mask=mask)
        logits = teacher(self.batch(padded=mask == "official")).logits
        self.golden.check(f"ft_logits_{name}", logits)
        self.golden.check(f"ft_probs_{name}", logits.sigmoid())
        long = teacher.embed(self.inputs["wav_10s_i16"], 16_000).logits
        self.golden.check("ft_logits_10s", long)
        self.golden.check("ft_probs_10s", long.sigmoid())


def test_the_official_mask_of_a_clip_shorter_than_a_patch_is_the_exact_one() -> None:
    clip = torch.randn(1, 1600) * 0.1
    official, exact = (BEATs(BEATS_PRETRAINED, mask=mask).embed(clip, 16_000) for mask in ("official", "exact"))
    torch.testing.assert_close(official.clip, exact.clip)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 40, 496])
def test_positions_of_beats_by_transform_equal_the_convolution(length: int) -> None:
    positions = PositionConvolution(12, kernel=8, groups=3)
    tokens = torch.randn(2, length, 12)
    convolved = torch.nn.Conv1d.forward(positions, tokens.transpose(1, 2))[..., :length].transpose(1, 2)
    torch.testing.assert_close(positions(tokens), convolved, atol=1e-5, rtol=0)
    torch.testing.assert_close(positions.double()(tokens.double()).float(), convolved, atol=1e-5, rtol=0)


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
    with pytest.raises(UserError, match=r"'encoder\.layers\.1\.self_attn\.v_proj\.weight' is missing"):
        BEATs(str(tmp_path / "less.pt"))


def test_the_positions_of_beats_are_those_of_its_first_layer(tmp_path: Path) -> None:
    content = torch.load(BEATS_PRETRAINED, weights_only=True)
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    content["model"][table.format(1)] = torch.zeros_like(content["model"][table.format(0)])
    torch.save(content, tmp_path / "zeros.pt")
    waveform = torch.randn(16_000)
    changed = BEATs(str(tmp_path / "zeros.pt")).embed(waveform, 16_000).clip
    assert changed.equal(BEATs(BEATS_PRETRAINED).embed(waveform, 16_000).clip)


@pytest.mark.parametrize("key", [int, str])
def test_beats_logits_are_in_the_order_of_mid(key: Callable[[int], object], tmp_path: Path) -> None:
    content = torch.load(BEATS_FINETUNED, weights_only=True)
    content["label_dict"] = {key(column): f"/m/{9 - column}" for column in range(10)}
    torch.save(content, tmp_path / "reversed.pt")
    waveform = torch.randn(16_000)
    turned, straight = BEATs(str(tmp_path / "reversed.pt")), BEATs(BEATS_FINETUNED)
    assert turned.labels == tuple(f"/m/{column}" for column in range(10))
    assert turned.embed(waveform, 16_000).logits.equal(straight.embed(waveform, 16_000).logits.flip(1))


def test_windows_with_gaps_do_not_change_the_distance_of_frames() -> None:
    windows = Windows(seconds=1.0)
    assert BEATs(BEATS_FINETUNED, windows=windows).frame_hop == pytest.approx(0.16)


TINY = TinyTeacher(
    lambda folder: {"checkpoint": BEATS_FINETUNED}, span=0.175, blur=0.002, one_file=True, published_network=build_beats
)
