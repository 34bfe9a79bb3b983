"""Weights of triangular mel bands, against their definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.data.audio.filters import kaldi_filters, mel_filters


def slow_filters(bands: int, points: int, sample_rate: int, low: float, high: float) -> np.ndarray:
    """Return HTK's triangles of unit height, one weight after another."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = [700 * (10 ** (value / 2595) - 1) for value in np.linspace(mel(low), mel(high), bands + 2)]
    weights = np.zeros((points // 2 + 1, bands))
    for row in range(points // 2 + 1):
        hertz = row * sample_rate / points
        for band in range(bands):
            left, centre, right = edges[band : band + 3]
            rising, falling = (hertz - left) / (centre - left), (right - hertz) / (right - centre)
            weights[row, band] = max(0, min(rising, falling))
    return weights


def test_htk_triangles_equal_their_definition() -> None:
    found = mel_filters(12, 256, 16_000, 50.0, 7_000.0, slaney=False)
    np.testing.assert_allclose(found.numpy(), slow_filters(12, 256, 16_000, 50.0, 7_000.0), atol=1e-6)


def test_slaneys_triangles_have_unit_area_and_are_equally_wide_below_1_khz() -> None:
    filters = mel_filters(40, 16_384, 16_000, 0.0, 8_000.0, slaney=True)
    area = filters.sum(0) * 16_000 / 16_384  # Hz between two frequencies
    torch.testing.assert_close(area, torch.ones(40), atol=0.01, rtol=0)
    centres = filters.argmax(0) * 16_000 / 16_384
    steps = centres.diff()[centres[1:] < 950]
    assert float(steps.max() - steps.min()) < 2.1  # Hz, the distance of two frequencies


@pytest.mark.parametrize(("bands", "points"), [(23, 512), (128, 512)])
def test_kaldis_triangles_are_linear_in_mel_and_leave_out_the_nyquist_frequency(bands: int, points: int) -> None:
    filters = kaldi_filters(bands, points)
    assert filters.shape == (points // 2 + 1, bands)
    assert not filters[-1].any()
    mels = [1127 * math.log(1 + row * 16_000 / points / 700) for row in range(points // 2)]
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20.0, 8_000.0))
    step = (high - low) / (bands + 1)
    for band in (0, bands // 2, bands - 1):
        distances = np.abs(np.array(mels) - (low + (band + 1) * step)) / step
        np.testing.assert_allclose(filters[:-1, band].numpy(), np.clip(1 - distances, 0, None), atol=2e-4)
