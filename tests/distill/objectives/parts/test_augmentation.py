"""Mixup in training: waveforms, labels and teachers' frames are mixed with the same shares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill.data.batch import AudioBatch, Embeddings
from distill.objectives.parts.augmentation import Augmentation, draw_mixup


def labelled(clips: int = 6, samples: int = 400) -> AudioBatch:
    """Return clips of different lengths, each with its own class."""
    batch = AudioBatch.of(torch.randn(clips, samples), 16_000, torch.arange(clips) * 50 + 100)
    return replace(batch, labels=torch.eye(clips))


def test_mixup_mixes_waveforms_and_labels_by_the_share() -> None:
    batch = labelled()
    mixed, mix = Augmentation(mixup=0.8)(batch)
    assert mix is not None
    assert sorted(mix.partners.tolist()) == list(range(6))
    assert 0.5 <= float(mix.shares.min()) < 0.9
    for row, (partner, share) in enumerate(zip(mix.partners.tolist(), mix.shares.tolist(), strict=True)):
        expected = torch.zeros(6)
        expected[row] += share
        expected[partner] += 1 - share
        torch.testing.assert_close(mixed.labels[row], expected)
        sound = share * batch.waveform[row] + (1 - share) * batch.waveform[partner]
        torch.testing.assert_close(mixed.waveform[row], sound)
        assert mixed.lengths[row] == max(batch.lengths[row], batch.lengths[partner])
    assert batch.labels.equal(torch.eye(6))  # the input is not changed


def test_mixed_clips_have_the_frames_of_the_shorter_clip() -> None:
    batch = labelled()
    mask = torch.arange(8) < (batch.lengths // 50).unsqueeze(1)
    embeddings = Embeddings.of_frames(torch.randn(6, 8, 3), torch.arange(8) * 0.003, mask)
    _, mix = Augmentation(mixup=0.8)(batch)
    assert mix is not None
    mixed = embeddings.mix(*mix)
    frames = mask.sum(1)
    assert mixed.frame_mask.sum(1).tolist() == torch.minimum(frames, frames[mix.partners]).tolist()
    assert (mixed.frame_mask.sum(1) < frames).any()


def test_only_mixup_changes_labels_and_nothing_changes_by_default() -> None:
    batch = labelled()
    changed, mix = Augmentation(gain=6.0, roll=True, noise=0.1)(batch)
    assert mix is None
    assert changed.labels.equal(batch.labels)
    same, mix = Augmentation()(batch)
    assert mix is None
    assert same.waveform.equal(batch.waveform)
    assert same.labels.equal(batch.labels)


@pytest.mark.parametrize(("strength", "mean"), [(0.1, 0.942), (1.0, 0.75), (100.0, 0.528)])
def test_shares_follow_the_larger_side_of_a_beta_distribution(strength: float, mean: float) -> None:
    shares = draw_mixup(20_000, strength).shares
    assert float(shares.mean()) == pytest.approx(mean, abs=0.006)


def test_augmentation_changes_clips_within_their_length_and_by_no_more_than_it_says() -> None:
    torch.manual_seed(0)
    data = AudioBatch.of(torch.randn(8, 4000), 16_000, torch.arange(8) * 400 + 1200)
    inside = torch.arange(4000) < data.lengths.unsqueeze(1)
    data = data.with_waveform(data.waveform * inside)
    rolled, mix = Augmentation(roll=True)(data)
    assert mix is None
    assert not rolled.waveform.equal(data.waveform)
    torch.testing.assert_close(rolled.waveform.sort(1).values, data.waveform.sort(1).values)
    assert not (rolled.waveform * ~inside).any()
    louder, _ = Augmentation(gain=6.0)(data)
    decibels = 20 * (louder.waveform.square().sum(1) / data.waveform.square().sum(1)).sqrt().log10()
    assert 1.0 < float(decibels.abs().max()) <= 6.0 + 1e-4
    noisy, _ = Augmentation(noise=0.1)(data)
    added = (noisy.waveform - data.waveform) * inside
    level = (added.square().sum(1) / data.waveform.square().sum(1)).sqrt()
    assert 0.01 < float(level.max()) <= 0.11
    assert not (noisy.waveform * ~inside).any()
    with pytest.raises(ValueError, match="must be at least 0"):
        Augmentation(gain=-1.0)
