from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi

from distill.data.frontend import KaldiFbank, LogMel


def test_log_mel_equals_ssondo(golden: Path) -> None:
    stored = np.load(golden / "ssondo" / "frontend.npz")
    mel = LogMel(32_000, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)
    np.testing.assert_allclose(mel.filters.numpy(), stored["ssondo_mel_fb"], atol=1e-6)
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


def test_a_clip_shorter_than_a_window_has_one_frame() -> None:
    assert KaldiFbank()(torch.randn(1, 10)).shape == (1, 1, 128)
    assert KaldiFbank().frames(torch.tensor([10, 400, 560])).tolist() == [1, 1, 2]


def test_no_filter_is_saved() -> None:
    assert not KaldiFbank().state_dict()
