"""PaSST against its official code."""

from __future__ import annotations

import torch
from torch import nn

from distill.data.batch import AudioBatch
from distill.teachers.passt import PaSST, PaSSTNetwork
from tests.conftest import GOLDEN
from tests.teachers.golden import WHOLE, Golden, vision_state, waveforms
from tests.teachers.tiny import TinyTeacher

PASST = str(GOLDEN / "passt" / "passt_tiny_s10.pt")


def build_passt() -> nn.Module:
    state = vision_state(768, 12) | {
        "freq_new_pos_embed": torch.empty(1, 768, 12, 1), "time_new_pos_embed": torch.empty(1, 768, 1, 99),
        "head.1.weight": torch.empty(527, 768),
    }  # fmt: skip
    return PaSSTNetwork(state, 0)


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


TINY = TinyTeacher(
    lambda folder: {"checkpoint": PASST, "heads": 4},
    span=0.175,
    blur=0.014,
    one_file=True,
    published_network=build_passt,
)
