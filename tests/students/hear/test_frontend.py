"""HEAR's front-end against the official code."""

from __future__ import annotations

import pytest
import torch
import torchaudio

from distill.students.hear.frontend import HearFrontEnd
from tests.students.hear.golden import (
    assert_close,
    inputs,
    outputs,
    waveform,
)


@pytest.mark.parametrize("name", ["short", "long"])
def test_front_end(name: str) -> None:
    spectra = HearFrontEnd(official=True)(waveform(f"wave_{name}"), inputs()[f"len_{name}"], power=True)
    bands = slice(None) if name == "short" else slice(None, None, 8)
    assert_close(spectra.mel[:, bands], "pre.short.mel" if name == "short" else "pre.long.mel_s8")
    assert_close(spectra.power[:, ::16], f"pre.{name}.power_s16", atol=1e-3)
    assert spectra.frames.equal(outputs()[f"pre.{name}.frames"].long())


def test_front_end_of_two_channels_and_of_44_khz() -> None:
    spectra = HearFrontEnd(official=True)(waveform("wave_stereo"), torch.tensor([3000, 3000]), power=True)
    assert_close(spectra.mel[:, ::4], "pre.stereo.mel_s4")
    assert_close(spectra.power[:, ::16], "pre.stereo.power_s16", atol=1e-3)
    wide = HearFrontEnd(44_100, 2048, official=True)
    spectra = wide(waveform("wave_short"), inputs()["len_short"], power=True)
    assert_close(spectra.mel[:, ::4], "pre.44k.mel_s4")
    assert_close(spectra.power[:, ::32], "pre.44k.power_s32", atol=1e-3)
    assert spectra.frames.equal(outputs()["pre.44k.frames"].long())


def test_frame_counts() -> None:
    counted = HearFrontEnd(official=True).frames(inputs()["frame_count.samples"])
    assert counted.equal(outputs()["frame_count.frames"].long())


def test_a_constant_signal_has_no_power() -> None:
    lengths = torch.tensor([8000])
    silent = torch.full((1, 8000), 0.1)
    assert HearFrontEnd()(silent, lengths, power=True).power.abs().max() < 0.01
    assert HearFrontEnd(official=True)(silent, lengths, power=True).power.abs().max() > 0.05


@pytest.mark.parametrize("samples", range(44_520, 44_560, 4))
def test_mel_and_power_at_44_khz_have_equal_numbers_of_frames(samples: int) -> None:
    spectra = HearFrontEnd(44_100, 2048)(torch.randn(1, samples), torch.tensor([samples]), power=True)
    assert spectra.mel.shape[2] == spectra.power.shape[2]


def test_the_official_buffers_of_44_khz_have_the_filter_of_torchaudio() -> None:
    kernel = HearFrontEnd(44_100, 2048).official_state()["resampler.kernel"]
    torch.testing.assert_close(kernel, torchaudio.transforms.Resample(44_100, 16_000).kernel, atol=1e-7, rtol=0)
