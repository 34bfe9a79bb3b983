"""Changes of a batch, clip by clip."""

from __future__ import annotations

import pytest
import torch

from distill.data.batch import AudioBatch
from distill.evaluation.changes import add_noise, change_gain, delay, halves, longer_than, take


def batch() -> AudioBatch:
    waveform = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[0.1], [0.5], [0.0]])
    return AudioBatch.of(waveform, 1_000, torch.tensor([1000, 400, 801]))


def test_six_decibels_less_are_half_the_amplitude() -> None:
    torch.testing.assert_close(change_gain(batch()).waveform, batch().waveform / 1.9952623)


def test_noise_has_its_ratio_to_each_clip_and_none_after_the_end() -> None:
    clean, noisy = batch(), add_noise(batch(), 20.0)
    noise = noisy.waveform - clean.waveform
    for clip, length in ((0, 1000), (1, 400)):
        ratio = clean.waveform[clip, :length].square().mean() / noise[clip, :length].square().mean()
        assert 10 * ratio.log10() == pytest.approx(20, abs=0.6)
    assert not noise[1, 400:].any()
    assert not noise[2].any()
    torch.testing.assert_close(add_noise(batch()).waveform, noisy.waveform)


def test_a_delay_loses_no_sample() -> None:
    delayed = delay(batch(), 0.05)
    assert delayed.lengths.tolist() == [1050, 450, 851]
    assert not delayed.waveform[:, :50].any()
    torch.testing.assert_close(delayed.waveform[:, 50:], batch().waveform)


def test_halves_of_each_clip_have_its_samples() -> None:
    first, second = halves(batch())
    assert first.lengths.tolist() == second.lengths.tolist() == [500, 200, 400]
    clip = batch().waveform[1]
    assert torch.equal(first.waveform[1], torch.cat([clip[:200], torch.zeros(300)]))
    assert torch.equal(second.waveform[1], torch.cat([clip[200:400], torch.zeros(300)]))


def test_clips_are_taken_by_rows_and_by_length() -> None:
    taken = take(batch(), torch.tensor([1]))
    assert taken.ids == ("1",)
    assert torch.equal(taken.waveform, batch().waveform[1:2, :400])
    longer = longer_than(batch(), 0.8)
    assert longer is not None
    assert longer.ids == ("0", "2")
    assert longer_than(batch(), 1.1) is None
