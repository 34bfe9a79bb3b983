from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi
from safetensors.torch import load_file

from distill.data.audio.filters import mel_filters
from distill.data.audio.kaldi import KaldiFbank
from distill.data.audio.mel import ClapMel, LogMel, PasstMel
from distill.data.batch import AudioBatch


def test_log_mel_equals_ssondo(golden: Path) -> None:
    stored = np.load(golden / "ssondo" / "frontend.npz")
    mel = LogMel(32_000, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)
    filters = mel_filters(128, 1024, 32_000, 50.0, 16_000.0, slaney=True)
    np.testing.assert_allclose(filters.numpy(), stored["ssondo_mel_fb"], atol=1e-6)
    result = mel(torch.from_numpy(stored["waveform_1p5s_32k"])[None])[0]
    np.testing.assert_allclose(result.numpy(), stored["ssondo_logmel"], atol=1e-4)


@pytest.mark.parametrize("window", ["hanning", "povey"])
def test_kaldi_fbank_equals_torchaudio_clip_by_clip(window: str) -> None:
    waveform = torch.randn(2, 16_000) * 0.1
    result = KaldiFbank(128, window)(waveform)
    for clip, fbank in zip(waveform, result, strict=True):
        expected = torchaudio.compliance.kaldi.fbank(
            clip[None], num_mel_bins=128, sample_frequency=16_000, window_type=window
        )
        torch.testing.assert_close(fbank, expected, atol=1e-4, rtol=0)


def test_kaldi_fbank_equals_torchaudio_where_rounding_matters() -> None:
    """In quiet bands beside loud tones, another order of roundings differs by more than 1e-2."""
    seconds = torch.arange(160_000, dtype=torch.float64) / 16_000
    quiet = 1e-4 * torch.randn(160_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sounds = torch.stack([0.5 + quiet, 0.9 * (2 * math.pi * 100 * seconds).sin() + quiet]).float()
    result = KaldiFbank(128, "povey", full_scale=2.0**15, mean=15.4, scale=13.1)(sounds)
    for clip, fbank in zip(sounds, result, strict=True):
        expected = torchaudio.compliance.kaldi.fbank(
            clip[None] * 2**15, num_mel_bins=128, sample_frequency=16_000, window_type="povey"
        )
        torch.testing.assert_close(fbank, (expected - 15.4) / 13.1, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("normalised_zeros", "zero"), [(True, 2.0), (False, 0.0)])
def test_kaldi_fbank_of_a_length_is_that_of_each_clip_and_then_zeros(normalised_zeros: bool, zero: float) -> None:
    fbank = KaldiFbank(32, mean=-4.0, scale=2.0)
    clips = [torch.randn(samples) * 0.1 for samples in (300, 8_000, 40_000)]
    waveform = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    batch = AudioBatch.of(waveform, 16_000, lengths=torch.tensor([len(clip) for clip in clips]))
    for frames in (100, 400):
        result = fbank.of_length(batch.waveform, batch.lengths, frames, normalised_zeros)
        for clip, found in zip(clips, result, strict=True):
            alone = fbank(clip[None])[0, :frames]
            expected = torch.cat([alone, torch.full((frames - len(alone), 32), zero)])
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_clip_shorter_than_a_window_has_one_frame() -> None:
    assert KaldiFbank()(torch.randn(1, 10)).shape == (1, 1, 128)
    assert KaldiFbank().frames(torch.tensor([10, 400, 560])).tolist() == [1, 1, 2]


def test_passt_mel_equals_the_official(golden: Path) -> None:
    outputs = load_file(golden / "passt" / "outputs.safetensors")
    waveform = load_file(golden / "passt" / "inputs.safetensors")["wav_3s_32k_i16"].float() / 32768
    mel = (PasstMel()(waveform) + 4.5) / 5
    torch.testing.assert_close(mel[:, ::8], outputs["mel_3s"], atol=1e-4, rtol=0)
    long = (PasstMel()(waveform.tile(4)[:, :320_000]) + 4.5) / 5
    assert long.shape[2] == PasstMel().frames(torch.tensor(320_000)) == 1000
    torch.testing.assert_close(long[..., 980:], outputs["mel_10s_tail"], atol=1e-4, rtol=0)


def test_clap_mel_equals_transformers(golden: Path) -> None:
    outputs = load_file(golden / "clap" / "outputs.safetensors")
    waveform = load_file(golden / "clap" / "inputs.safetensors")["wav_3s_48k_i16"].float() / 32768
    long = ClapMel()(waveform.tile(4)[:, :480_000])[0].T
    torch.testing.assert_close(long[985:], outputs["feat_10s_tail"], atol=1e-4, rtol=0)
    torch.testing.assert_close(ClapMel()(waveform)[0].T[:48], outputs["feat_3s_head"], atol=1e-4, rtol=0)
    htk = ClapMel(slaney=False)(waveform)[0].T[:48]
    torch.testing.assert_close(htk, outputs["fused_feat_3s_head"].reshape(-1, 64)[:48], atol=1e-4, rtol=0)


FRONT_ENDS = [
    KaldiFbank(),
    LogMel(16_000, window=400, hop=160, bands=80, low=50.0, high=8_000.0, offset=1e-7),
    ClapMel(),
    PasstMel(),
]


def test_bands_that_lie_between_frequencies_are_silent() -> None:
    mel = LogMel(16_000, window=32, hop=16, bands=128, low=20.0, high=8_000.0, offset=1.0)
    silent = mel_filters(128, 32, 16_000, 20.0, 8_000.0, slaney=True).sum(0) == 0
    assert silent[:16].all()  # a whole group of bands
    assert torch.equal(mel(torch.randn(1, 4_000)).abs().amax((0, 2)) == 0, silent)


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda module: type(module).__name__)
class TestEveryFrontEnd:
    def test_is_exported_with_any_batch_and_length(self, front_end: torch.nn.Module) -> None:
        samples = torch.export.Dim("samples", min=2_000, max=1_000_000)
        shape = {"waveform": {0: torch.export.Dim("batch", min=1, max=64), 1: samples}}
        program = torch.export.export(front_end, (torch.randn(2, 32_000),), dynamic_shapes=shape)
        waveform = torch.randn(3, 20_000)
        torch.testing.assert_close(program.module()(waveform), front_end(waveform), atol=1e-5, rtol=1e-5)

    def test_stays_in_float32_under_autocast(self, front_end: torch.nn.Module) -> None:
        waveform = torch.randn(1, 16_000) * 0.1
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = front_end(waveform)
        assert mixed.equal(front_end(waveform))

    def test_returns_the_stated_number_of_frames(self, front_end: KaldiFbank | LogMel) -> None:
        for samples in (10, 3_000, 16_000, 33_333):
            shape = front_end(torch.randn(1, samples)).shape
            axis = 1 if isinstance(front_end, KaldiFbank) else 2
            assert shape[axis] == front_end.frames(torch.tensor(samples))

    def test_saves_no_filter(self, front_end: torch.nn.Module) -> None:
        assert not front_end.state_dict()

    @pytest.mark.parametrize("shape", [(2, 600_000), (50, 16_000)], ids=["pieces of a clip", "clips in a piece"])
    def test_reused_memory_changes_nothing(self, front_end: torch.nn.Module, shape: tuple[int, int]) -> None:
        waveform = torch.randn(shape) * 0.1
        plain = front_end(waveform.clone().requires_grad_())
        torch.testing.assert_close(front_end(waveform), plain.detach(), atol=1e-4, rtol=0)
