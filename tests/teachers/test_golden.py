"""Every teacher equals its official code: same weights, same input, the stated tolerance (tests/golden/*/README.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from distill.data.batch import AudioBatch
from distill.data.encoders.windows import Windows
from distill.teachers.ast import AST
from distill.teachers.beats import BEATs, PositionConvolution, official_token_mask, relative_bucket, wholly_padded
from distill.teachers.clap import CLAP
from distill.teachers.passt import PaSST
from distill.teachers.ssast import SSAST
from tests.conftest import GOLDEN

AST_FOLDER = str(GOLDEN / "ast" / "ast_tiny")
BEATS_PRETRAINED = str(GOLDEN / "beats" / "beats_tiny_pretrained.pt")
BEATS_FINETUNED = str(GOLDEN / "beats" / "beats_tiny_finetuned.pt")
SSAST_FRAME = str(GOLDEN / "ssast" / "ssast_tiny_frame.pth")
SSAST_PATCH = str(GOLDEN / "ssast" / "ssast_tiny_patch.pth")
CLAP_UNFUSED = str(GOLDEN / "clap" / "clap_tiny_unfused")
CLAP_FUSED = str(GOLDEN / "clap" / "clap_tiny_fused")
PASST = str(GOLDEN / "passt" / "passt_tiny_s10.pt")
WHOLE = Windows(seconds=0)


def waveforms(name: str) -> dict[str, Tensor]:
    """Inputs of one teacher, as float."""
    stored = load_file(GOLDEN / name / "inputs.safetensors")
    return {key: tensor.float() / 32768 for key, tensor in stored.items() if tensor.dtype == torch.int16}


class Golden:
    """Compares with the stored outputs of one teacher."""

    def __init__(self, name: str, tolerance: float) -> None:
        self.outputs = load_file(GOLDEN / name / "outputs.safetensors")
        self.tolerance = tolerance

    def check(self, name: str, found: Tensor) -> None:
        """Shapes equal, values within the tolerance."""
        torch.testing.assert_close(found, self.outputs[name], atol=self.tolerance, rtol=0, msg=lambda m: f"{name}: {m}")


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


class TestSSAST:
    golden, fbank = Golden("ssast", 2e-3), Golden("ssast", 1e-3)
    inputs = waveforms("ssast")
    long = AudioBatch.of(inputs["wav_10s_i16"], 16_000)
    short = AudioBatch.of(inputs["wav_batch_i16"], 16_000)

    @staticmethod
    def tokens(teacher: SSAST, batch: AudioBatch) -> Tensor:
        with torch.inference_mode():
            return teacher.model(teacher.spectrogram(batch).transpose(1, 2))

    def test_front_end(self) -> None:
        long = SSAST(SSAST_FRAME, heads=4).spectrogram(self.long)[0]
        self.fbank.check("fbank_10s_head", long[:64])
        self.fbank.check("fbank_10s_gap", long[496:530])
        self.fbank.check("fbank_10s_tail", long[990:])
        short = SSAST(SSAST_FRAME, heads=4, frames=300, windows=WHOLE).spectrogram(self.short)
        self.fbank.check("fbank_batch_300", short[:, ::8])

    def test_padding_after_normalising_gives_zeros(self) -> None:
        long = SSAST(SSAST_FRAME, heads=4, padding="after").spectrogram(self.long)[0]
        assert long[998:].eq(0).all()
        self.fbank.check("fbank_10s_head", long[:64])

    def test_frame_model(self) -> None:
        teacher = SSAST(SSAST_FRAME, heads=4)
        self.golden.check("frame_1024_10s", teacher(self.long).frames)
        self.golden.check("frame_1024_batch_sub", teacher(self.short).frames[:, ::8])
        assert int(teacher(self.long).frame_mask.sum()) == 499

    def test_stages(self) -> None:
        model = SSAST(SSAST_FRAME, heads=4).model
        stages: list[Tensor] = []
        model.v.blocks[0].register_forward_pre_hook(lambda module, inputs: stages.append(inputs[0]))
        for module in (*model.v.blocks, model.v.norm):
            module.register_forward_hook(lambda module, inputs, output: stages.append(output))
        with torch.inference_mode():
            model(SSAST(SSAST_FRAME, heads=4).spectrogram(self.long).transpose(1, 2))
        self.golden.check("frame_1024_10s_stages", torch.stack([stage[:, :34] for stage in stages]))

    def test_positions_are_cut_and_stretched(self) -> None:
        cut = SSAST(SSAST_FRAME, heads=4, frames=300, windows=WHOLE)
        self.golden.check("frame_300_batch", cut(self.short).frames)
        self.golden.check("frame_300_batch_avgtok", cut(self.short).clip)
        classes = SSAST(SSAST_FRAME, heads=4, frames=300, windows=WHOLE, pooling="class")
        self.golden.check("frame_300_batch_cls", classes(self.short).clip)
        dense = SSAST(SSAST_FRAME, heads=4, frames=300, stride=1, windows=WHOLE)
        self.golden.check("frame_300_ts1_batch0", dense(self.short).frames[:1])
        self.golden.check("frame_300_ts1_batch0_avgtok", dense(self.short).clip[:1])
        stretched = SSAST(SSAST_FRAME, heads=4, frames=1100)
        self.golden.check("frame_1100_10s_sub", stretched(self.long).frames[:, ::5])
        self.golden.check("frame_1100_10s_avgtok", stretched(self.long).clip)
        self.golden.check("frame_1100_10s_pos_sub", stretched.model.v.pos_embed[:, ::5])

    def test_patch_model(self) -> None:
        plain = SSAST(SSAST_PATCH, heads=4)
        self.golden.check("patch_1024_10s_sub", self.tokens(plain, self.long)[:, 2:][:, ::4])
        self.golden.check("patch_1024_10s_avgtok", plain(self.long).clip)
        dense = SSAST(SSAST_PATCH, heads=4, stride=10, frequency_stride=10)
        self.golden.check("patch_1024_s10_10s_sub", self.tokens(dense, self.long)[:, 2:][:, ::5])
        self.golden.check("patch_1024_s10_10s_avgtok", dense(self.long).clip)
        self.golden.check("patch_1024_s10_10s_pos_sub", dense.model.v.pos_embed[:, ::5])
        short = SSAST(SSAST_PATCH, heads=4, frames=300, stride=10, frequency_stride=10, windows=WHOLE)
        self.golden.check("patch_300_s10_batch0", self.tokens(short, self.short)[:1, 2:])
        self.golden.check("patch_300_s10_batch_avgtok", short(self.short).clip)
        self.golden.check("patch_300_s10_batch_pos", short.model.v.pos_embed)

    def test_class_tokens(self) -> None:
        for file, name, options in (
            (SSAST_FRAME, "frame_300_ts1_batch0_cls", {"frames": 300, "stride": 1, "windows": WHOLE}),
            (SSAST_FRAME, "frame_1100_10s_cls", {"frames": 1100}),
            (SSAST_PATCH, "patch_1024_10s_cls", {}),
            (SSAST_PATCH, "patch_1024_s10_10s_cls", {"stride": 10, "frequency_stride": 10}),
            (
                SSAST_PATCH,
                "patch_300_s10_batch_cls",
                {"frames": 300, "stride": 10, "frequency_stride": 10, "windows": WHOLE},
            ),
        ):
            teacher = SSAST(file, heads=4, pooling="class", **options)  # type: ignore[arg-type]
            clip = teacher(self.long if "10s" in name else self.short).clip
            self.golden.check(name, clip[: len(self.golden.outputs[name])])

    def test_grids(self) -> None:
        for name, file, options in (
            ("frame_1100_10s_grid", SSAST_FRAME, {"frames": 1100}),
            ("frame_300_batch_grid", SSAST_FRAME, {"frames": 300, "windows": WHOLE}),
            ("frame_300_ts1_batch0_grid", SSAST_FRAME, {"frames": 300, "stride": 1, "windows": WHOLE}),
            ("patch_1024_10s_grid", SSAST_PATCH, {}),
            ("patch_1024_s10_10s_grid", SSAST_PATCH, {"stride": 10, "frequency_stride": 10}),
            (
                "patch_300_s10_batch_grid",
                SSAST_PATCH,
                {"frames": 300, "stride": 10, "frequency_stride": 10, "windows": WHOLE},
            ),
        ):
            teacher = SSAST(file, heads=4, **options)  # type: ignore[arg-type]
            assert list(teacher.model.grid) == self.golden.outputs[name].tolist()


class TestCLAP:
    golden = Golden("clap", 1e-4)
    three = waveforms("clap")["wav_3s_48k_i16"]
    ten = three.tile(4)[:, :480_000]
    twelve = three.tile(4)

    def test_clip(self) -> None:
        teacher, pooled = CLAP(CLAP_UNFUSED), CLAP(CLAP_UNFUSED, embedding="pooled")
        for waveform, name in ((self.three, "3s"), (self.ten, "10s")):
            clip = teacher.embed(waveform, 48_000).clip
            self.golden.check(f"audio_embeds_{name}", clip)
            self.golden.check(f"audio_features_l2_{name}", F.normalize(clip, dim=1))
            self.golden.check(f"pooler_{name}", pooled.embed(waveform, 48_000).clip)
        zero = CLAP(CLAP_UNFUSED, padding="zero").embed(self.three, 48_000).clip
        self.golden.check("audio_embeds_3s_padmode", zero)

    def test_front_end_repeats_then_pads(self) -> None:
        mel = CLAP(CLAP_UNFUSED).features(AudioBatch.of(self.three, 48_000))[0][0, 0]
        self.golden.check("feat_3s_head", mel[:48])
        self.golden.check("feat_3s_join", mel[290:310])
        self.golden.check("feat_3s_padjoin", mel[890:910])

    def test_feature_map_and_frames(self) -> None:
        teacher = CLAP(CLAP_UNFUSED)
        with torch.inference_mode():
            for waveform, name in ((self.three, "3s"), (self.ten, "10s")):
                features, longer = teacher.features(AudioBatch.of(waveform, 48_000))
                outputs = teacher.model.audio_model(features, is_longer=longer, output_hidden_states=True)
                self.golden.check(f"last_hidden_{name}", outputs.last_hidden_state)
        self.golden.check("hidden0_10s_sub", outputs.hidden_states[0][..., ::8, ::8])
        self.golden.check("hidden3_10s", outputs.hidden_states[3])
        self.golden.check("frames_10s_mean", teacher.embed(self.ten, 48_000).frames)

    @pytest.mark.parametrize(("folder", "prefix"), [(CLAP_UNFUSED, "audio"), (CLAP_FUSED, "fused")])
    def test_official_extractor_with_its_luck(self, folder: str, prefix: str) -> None:
        teacher = CLAP(folder, official=True, windows=WHOLE)
        np.random.seed(0)  # the official code draws from the global state
        self.golden.check(f"{prefix}_embeds_12s_npseed0", teacher.embed(self.twelve, 48_000).clip)

    def test_fused(self) -> None:
        teacher = CLAP(CLAP_FUSED, windows=WHOLE)
        features, longer = teacher.features(AudioBatch.of(self.three, 48_000))
        assert not longer.any()
        self.golden.check("fused_feat_3s_head", features[0, 0, :48])
        self.golden.check("fused_embeds_3s_is_longer_False", teacher.embed(self.three, 48_000).clip)
        with torch.inference_mode():
            long = teacher.model(input_features=features, is_longer=torch.tensor([[True]])).audio_embeds
        self.golden.check("fused_embeds_3s_is_longer_True", long)
        shrunk = teacher.features(AudioBatch.of(self.twelve, 48_000))[0]
        self.golden.check("fused_feat_12s_shrink_head", shrunk[0, 0, :32])

    @pytest.mark.parametrize("folder", [CLAP_UNFUSED, CLAP_FUSED])
    @pytest.mark.parametrize("windows", [WHOLE, Windows()])
    def test_equal_input_gives_equal_output_at_any_length(self, folder: str, windows: Windows) -> None:
        teacher = CLAP(folder, windows=windows)
        for waveform in (self.three, self.twelve):
            batch = teacher.embed(waveform.repeat(3, 1), 48_000).clip
            torch.testing.assert_close(batch, teacher.embed(waveform, 48_000).clip.repeat(3, 1), atol=1e-5, rtol=0)


class TestPaSST:
    golden = Golden("passt", 1e-3)
    three = waveforms("passt")["wav_3s_32k_i16"]
    ten = three.tile(4)[:, :320_000]
    twelve = three.tile(4)

    def test_clip_logits_and_frames(self) -> None:
        teacher = PaSST(PASST, heads=4)
        for waveform, name in ((self.three, "3s"), (self.ten, "10s")):
            embeddings = teacher.embed(waveform, 32_000)
            self.golden.check(f"features_{name}", embeddings.clip)
            self.golden.check(f"logits_{name}", embeddings.logits)
        self.golden.check("frames_10s_mean", embeddings.frames)
        with torch.inference_mode():
            tokens, _ = teacher.model(teacher.spectrogram(AudioBatch.of(self.ten, 32_000)))
        self.golden.check("tokens_10s_sub", tokens[:, ::4])

    def test_front_end(self) -> None:
        teacher = PaSST(PASST, heads=4)
        self.golden.check("mel_3s", teacher.spectrogram(AudioBatch.of(self.three, 32_000))[:, ::8])
        self.golden.check("mel_10s_tail", teacher.spectrogram(AudioBatch.of(self.ten, 32_000))[..., 980:])

    def test_without_windows_the_beginning_is_used_as_officially(self) -> None:
        embeddings = PaSST(PASST, heads=4, windows=WHOLE).embed(self.twelve, 32_000)
        self.golden.check("features_12s_cut", embeddings.clip)
        self.golden.check("logits_12s_cut", embeddings.logits)


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
