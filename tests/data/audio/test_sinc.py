"""The resampler without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.data.audio.resample import resample
from distill.data.audio.sinc import resample_samples, resampled_blocks, resampled_length, scaled

RATES = [(16_000, 32_000), (32_000, 16_000), (44_100, 16_000), (44_100, 32_000), (11_025, 48_000), (1_600, 1_599)]


@pytest.mark.parametrize(("source", "target"), [*RATES, (8_000, 8_000), (96_000, 500)])
@pytest.mark.parametrize("samples", [1, 37, 1_000, 20_011])
def test_gives_the_samples_of_the_resampler_in_pytorch(source: int, target: int, samples: int) -> None:
    clip = np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)
    found = resample_samples(clip, source, target)
    assert found.dtype == np.float32
    assert found.shape == (resampled_length(samples, source, target),)
    np.testing.assert_allclose(found, resample(torch.from_numpy(clip), source, target).numpy(), atol=1e-6, rtol=0)


def test_a_sine_stays_a_sine() -> None:
    source, target = (np.sin(2 * np.pi * 440 * np.arange(rate) / rate) for rate in (44_100, 16_000))
    found = resample_samples(source.astype(np.float32), 44_100, 16_000)
    np.testing.assert_allclose(found[100:-100], target[100:-100], atol=2e-3)


@pytest.mark.parametrize(("source", "target"), [(44_100, 16_000), (8_000, 8_000)])
def test_blocks_of_16_bits_together_are_the_scaled_clip(source: int, target: int) -> None:
    clip = np.random.default_rng(0).integers(-(2**15), 2**15, round(9.37 * source)).astype(np.int16)
    blocks = (clip[first : first + source // 3] for first in range(0, len(clip), source // 3))
    found = np.concatenate(list(resampled_blocks(blocks, source, target)))
    np.testing.assert_allclose(found, resample_samples(clip / np.float32(2**15), source, target), atol=1e-5)


def test_16_bits_are_scaled_and_floats_stay() -> None:
    assert scaled(np.array([-(2**15), 2**14], np.int16)).tolist() == [-1.0, 0.5]
    assert scaled(np.array([0.25], np.float32)).tolist() == [0.25]
