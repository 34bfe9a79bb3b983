from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchaudio
from numpy.typing import NDArray

from distill.data.audio import resample as module
from distill.data.audio.read import Samples
from distill.data.audio.resample import resample, resample_blocks
from distill.data.audio.sinc import resampled_length

RATES = [(16_000, 32_000), (32_000, 16_000), (44_100, 16_000), (44_100, 32_000), (11_025, 48_000), (1_600, 1_599)]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_equals_torchaudio_at_any_length(source: int, target: int) -> None:
    for samples in (1, 37, 1_000, 20_011):
        waveform = torch.rand(2, samples) - 0.5
        expected = torchaudio.transforms.Resample(source, target)(waveform)
        result = resample(waveform, source, target)
        assert result.shape == (2, resampled_length(samples, source, target))
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("source", "target"), [*RATES, (8_000, 8_000), (100, 8_000), (1_000, 7), (96_000, 500)])
@pytest.mark.parametrize("block", [0.31, 1.0, 2.5, 7.0, 100.0])
@pytest.mark.parametrize("seconds", [0.2, 4.0, 9.37])
def test_blocks_together_are_the_whole_clip(source: int, target: int, block: float, seconds: float) -> None:
    clip = np.random.default_rng(0).uniform(-1, 1, round(seconds * source)).astype(np.float32)
    expected = resample(torch.from_numpy(clip), source, target)
    parts = list(resample_blocks(cut(clip, round(block * source)), source, target))
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=0)
    assert all(len(part) for part in parts)


def test_blocks_of_16_bits_are_scaled_and_memory_follows_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = np.random.default_rng(0).integers(-(2**15), 2**15, 300 * 1_000).astype(np.int16)
    expected = resample(torch.from_numpy(clip / np.float32(2**15)), 1_000, 800)
    longest = 0

    def watched(waveform: torch.Tensor, source: int, target: int) -> torch.Tensor:
        nonlocal longest
        longest = max(longest, len(waveform))
        return resample(waveform, source, target)

    monkeypatch.setattr(module, "resample", watched)
    parts = list(resample_blocks(cut(clip, 5_000), 1_000, 800))
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-5, rtol=0)
    assert longest <= 5_000 + 3 * 1_000


def cut(clip: NDArray[np.float32] | NDArray[np.int16], samples: int) -> Iterator[Samples]:
    """Cut a clip into blocks of some samples."""
    return (clip[first : first + samples] for first in range(0, len(clip), samples))


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


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (16_000, 44_100)])
@pytest.mark.parametrize("samples", [100, 4_410, 10_001])
def test_a_graph_resamples_by_slices(source: int, target: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.randn(2, samples)
    expected = resample(waveform, source, target)
    for name in ("is_exporting", "is_compiling"):
        monkeypatch.setattr(torch.compiler, name, lambda: True)
    monkeypatch.setattr(torch.Tensor, "unfold", None)
    torch.testing.assert_close(resample(waveform, source, target), expected, atol=1e-5, rtol=0)
