"""Kaldi's filter banks, against torchaudio."""

from __future__ import annotations

import math

import pytest
import torch
import torchaudio.compliance.kaldi

from distill.data.audio.kaldi import KaldiFbank
from distill.data.batch import AudioBatch


@pytest.mark.parametrize("window", ["hanning", "povey"])
def test_kaldi_fbank_equals_torchaudio_clip_by_clip(window: str) -> None:
    waveform = torch.randn(2, 16_000) * 0.1
    result = KaldiFbank(128, window)(waveform)
    for clip, fbank in zip(waveform, result, strict=True):
        expected = torchaudio.compliance.kaldi.fbank(
            clip[None], num_mel_bins=128, sample_frequency=16_000, window_type=window
        )
        torch.testing.assert_close(fbank, expected, atol=1e-4, rtol=0)


def test_kaldi_fbank_equals_torchaudio_where_rounding_is_heard() -> None:
    """Quiet bands beside loud tones and levels: another order of roundings would differ by more than 1e-2."""
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
