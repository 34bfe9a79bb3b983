"""Mel statistics: numbers of a slow version, padding, and other sample rates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import distill
from distill.data.audio.filters import mel_filters
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.teachers.mel import Mel
from tests.teachers.tiny import TinyTeacher


def slow_log_mel(samples: NDArray[np.float64], rate: int, low: float, high: float) -> NDArray[np.float64]:
    """Log-mel frames (time, 128), one frame and one band after another."""
    size = round(0.032 * rate)
    filters = mel_filters(128, size, rate, low, high, slaney=True).double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    frames = []
    for begin in range(0, len(samples) - size + 1, size // 2):
        power = np.abs(np.fft.rfft(samples[begin : begin + size] * window)) ** 2
        frames.append([np.log(power @ filters[:, band] + 1e-6) for band in range(128)])
    return np.array(frames)


def test_the_embeddings_are_mean_and_deviation_over_time_and_the_frames() -> None:
    samples = np.random.default_rng(0).standard_normal(20_000) * np.linspace(0.01, 0.3, 20_000)
    frames = slow_log_mel(samples, 32_000, 50.0, 16_000.0)
    embeddings = distill.create_teacher("mel").embed(torch.from_numpy(samples), 32_000)
    np.testing.assert_allclose(embeddings.frames[0], frames, atol=1e-3)
    np.testing.assert_allclose(embeddings.clip[0, :128], frames.mean(0), atol=1e-3)
    np.testing.assert_allclose(embeddings.clip[0, 128:], frames.std(0), atol=1e-3)
    np.testing.assert_allclose(embeddings.frame_times, 0.016 + 0.016 * np.arange(len(frames)), atol=1e-6)


def test_a_padded_clip_has_the_statistics_of_its_valid_frames_only() -> None:
    teacher, lengths = distill.create_teacher("mel"), torch.tensor([64_000, 9_000])
    batch = AudioBatch.of(torch.randn(2, 64_000) * 0.1, 32_000, lengths)
    together = teacher(batch)
    alone = teacher(AudioBatch.of(batch.waveform[1, :9_000], 32_000))
    torch.testing.assert_close(together.clip[1], alone.clip[0], atol=1e-5, rtol=0)
    assert together.frame_mask[1].sum() == alone.frame_mask.sum() == (9_000 - 1_024) // 512 + 1


@pytest.mark.parametrize(("rate", "tone"), [(1_000, 60.0), (1_000, 430.0), (8_000, 1_000.0), (256_000, 90_000.0)])
def test_a_tone_lies_in_its_band_at_any_rate_and_every_band_has_a_frequency(rate: int, tone: float) -> None:
    teacher = distill.create_teacher("mel", sample_rate=rate, low_hz=20.0)
    assert isinstance(teacher, Mel)
    filters = mel_filters(128, teacher.mel.points, rate, 20.0, rate / 2, slaney=True)
    assert (filters.sum(0) > 0).all()
    embeddings = teacher.embed(0.1 * torch.sin(2 * torch.pi * tone * torch.arange(rate) / rate), rate)
    nearest = filters[round(tone / rate * teacher.mel.points)].argmax()
    assert abs(int(embeddings.clip[0, :128].argmax()) - int(nearest)) <= 1
    assert teacher.frame_hop == pytest.approx(max(0.016, 128 / rate))


@pytest.mark.parametrize(
    "options",
    [
        {"high_hz": 20_000.0},
        {"low_hz": 600.0, "sample_rate": 1_000},
        {"low_hz": -1.0},
        {"low_hz": 300.0, "high_hz": 200.0},
    ],
)
def test_edges_outside_of_the_range_are_refused_in_one_line(options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"--teacher\.low_hz .* half of --teacher\.sample_rate$"):
        distill.create_teacher("mel", **options)


@pytest.mark.parametrize("option", ["sample_rate", "bands"])
def test_a_rate_or_a_number_of_bands_below_1_is_refused(option: str) -> None:
    with pytest.raises(UserError, match=rf"--teacher\.{option} 0: must be at least 1"):
        distill.create_teacher("mel", **{option: 0})


TINY = TinyTeacher(lambda folder: {}, span=0.032, blur=0.003)
