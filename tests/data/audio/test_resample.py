from __future__ import annotations

import pytest
import torch
import torchaudio

from distill.data.audio.resample import resample, resampled_length

RATES = [(16_000, 32_000), (32_000, 16_000), (44_100, 16_000), (44_100, 32_000), (11_025, 48_000), (16_000, 15_999)]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_equals_torchaudio_at_any_length(source: int, target: int) -> None:
    for samples in (1, 37, 1_000, 20_011):
        waveform = torch.rand(2, samples) - 0.5
        expected = torchaudio.transforms.Resample(source, target)(waveform)
        result = resample(waveform, source, target)
        assert result.shape == (2, resampled_length(samples, source, target))
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("target", [8_000, 16_000, 44_100])
def test_samples_of_16_bits_are_scaled(target: int) -> None:
    stored = torch.randint(-(2**15), 2**15, (5_000,), dtype=torch.int16)
    stored[:2] = torch.tensor([-(2**15), 2**15 - 1])
    out = torch.full((resampled_length(5_000, 16_000, target),), torch.nan)
    resample(stored, 16_000, target, out=out)
    assert torch.equal(out, resample((stored.float() / 2**15).unsqueeze(0), 16_000, target)[0])


def test_keeps_leading_dimensions_and_gradients() -> None:
    waveform = torch.rand(2, 3, 500, requires_grad=True)
    result = resample(waveform, 8_000, 16_000)
    assert result.shape == (2, 3, 1_000)
    result.sum().backward()
    assert waveform.grad is not None
    assert waveform.grad[..., 100:400].sub(2).abs().max() < 1e-2  # twice as many samples


def test_a_filter_that_inference_made_first_gives_gradients_too() -> None:
    with torch.inference_mode():
        resample(torch.rand(1, 500), 7_000, 3_000)
    waveform = torch.rand(1, 500, requires_grad=True)
    resample(waveform, 7_000, 3_000).sum().backward()
    assert waveform.grad is not None
