"""CLAP against its official code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import distill
from distill.data.batch import AudioBatch
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.teachers.clap import CLAP
from tests.conftest import GOLDEN
from tests.teachers.golden import WHOLE, Golden, waveforms
from tests.teachers.test_ast import with_settings
from tests.teachers.tiny import TinyTeacher

CLAP_UNFUSED = str(GOLDEN / "clap" / "clap_tiny_unfused")
CLAP_FUSED = str(GOLDEN / "clap" / "clap_tiny_fused")


def build_clap() -> nn.Module:
    from transformers import ClapAudioConfig, ClapAudioModelWithProjection

    return ClapAudioModelWithProjection(ClapAudioConfig(num_hidden_layers=4))


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
    def test_official_extractor_with_its_random_crops(self, folder: str, prefix: str) -> None:
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


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "repeat"},
        {"padding": "pad"},
        {"sampling_rate": 32_000, "nb_max_samples": 320_000, "hop_length": 320, "frequency_max": 16_000},
        {"fft_window_size": 2048, "nb_frequency_bins": 1025, "frequency_min": 0},
        {"max_length_s": 5, "nb_max_samples": 240_000},
    ],
    ids=str,
)
def test_the_input_is_computed_as_the_checkpoint_states(changes: dict[str, Any], tmp_path: Path) -> None:
    teacher = CLAP(with_settings(CLAP_UNFUSED, tmp_path, **changes), windows=WHOLE)
    rate = changes.get("sampling_rate", 48_000)
    assert teacher.sample_rate == rate
    batch = AudioBatch.of(torch.randn(1, int(3.3 * rate)) * 0.1, rate)
    found, official = teacher.features(batch)[0], teacher._official_features(batch)[0]
    torch.testing.assert_close(found, official, atol=1e-3, rtol=0)
    embeddings = teacher(batch)
    assert teacher.longest_window == changes.get("max_length_s", 10)
    assert float(embeddings.frame_times[-1]) == pytest.approx(teacher.longest_window, abs=0.2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": "odd"}, "padding 'odd'; must be one of repeatpad, repeat, pad"),
        ({"feature_size": 32}, "feature_size 32; the network takes 64 bands"),
        ({"hop_length": 240}, "2001 spectra in max_length_s; the network takes at most 1024"),
    ],
)
def test_settings_that_the_network_cannot_use_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        CLAP(with_settings(CLAP_UNFUSED, tmp_path, **changes))


def test_the_padding_of_the_checkpoint_is_the_one_that_earlier_versions_recorded() -> None:
    spec = distill.create_teacher("clap", checkpoint=CLAP_UNFUSED).spec
    assert spec is not None
    assert spec.options["padding"] == "repeat"


TINY = TinyTeacher(
    lambda folder: {"checkpoint": CLAP_UNFUSED},
    span=0.3128,
    blur=0.040,
    span_options={"padding": "zero"},
    published_network=build_clap,
)
