"""SSAST against its official code, what it loads, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.teachers.ssast import SSAST, SSASTNetwork
from tests.conftest import GOLDEN
from tests.teachers.golden import WHOLE, Golden, vision_state, waveforms
from tests.teachers.tiny import TinyTeacher

SSAST_FRAME = str(GOLDEN / "ssast" / "ssast_tiny_frame.pth")
SSAST_PATCH = str(GOLDEN / "ssast" / "ssast_tiny_patch.pth")


def build_ssast() -> nn.Module:
    state = {f"v.{key}": tensor for key, tensor in vision_state(768, 12).items()} | {
        "v.patch_embed.proj.weight": torch.empty(768, 1, 128, 2), "v.pos_embed": torch.empty(1, 514, 768),
        "v.cls_token": torch.empty(1, 1, 768), "v.dist_token": torch.empty(1, 1, 768),
    }  # fmt: skip
    return SSASTNetwork(state, 1024, (0, 0), 0)


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


TINY = TinyTeacher(
    lambda folder: {"checkpoint": SSAST_FRAME, "heads": 4},
    span=0.035,
    blur=0.002,
    one_file=True,
    published_network=build_ssast,
)
