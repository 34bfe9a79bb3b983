from __future__ import annotations

import pytest
import torch

from distill.data.audio.frames import frame_mask, masked_mean, overlapping, pad_to, remove_mean

LENGTHS = torch.tensor([4, 2, 0])
MASK = torch.tensor([[True, True, True, True], [True, True, False, False], [False] * 4])


def test_a_mask_is_true_at_the_valid_positions() -> None:
    assert frame_mask(LENGTHS, 4).equal(MASK)


def test_a_masked_mean_leaves_padding_out_and_is_0_without_valid_frames() -> None:
    frames = torch.arange(24.0).view(3, 4, 2)
    expected = torch.stack([frames[0].mean(0), frames[1, :2].mean(0), torch.zeros(2)])
    torch.testing.assert_close(masked_mean(frames, MASK), expected)


def test_the_mean_of_many_frames_in_half_precision_is_finite_and_exact() -> None:
    frames = torch.full((1, 5000, 2), 100.0, dtype=torch.float16)  # the sum is beyond the range of float16
    mean = masked_mean(frames, torch.ones(1, 5000, dtype=torch.bool))
    assert mean.dtype == torch.float16
    assert mean.eq(100).all()


def test_the_removed_mean_is_that_of_the_valid_samples() -> None:
    waveform = torch.tensor([[1.0, 2.0, 3.0, 6.0], [4.0, 2.0, 0.0, 0.0], [0.0] * 4])
    expected = torch.tensor([[-2.0, -1.0, 0.0, 3.0], [1.0, -1.0, 0.0, 0.0], [0.0] * 4])
    torch.testing.assert_close(remove_mean(waveform, LENGTHS), expected)


def test_only_shorter_clips_are_padded() -> None:
    waveform = torch.ones(2, 3)
    assert pad_to(waveform, 3) is waveform
    assert pad_to(waveform, 5).sum(1).tolist() == [3, 3]
    assert pad_to(waveform, 5).shape == (2, 5)


@pytest.mark.parametrize(("size", "hop"), [(4, 2), (5, 2), (3, 3), (2, 3), (10, 4)])
def test_overlapping_frames_are_those_of_unfold(size: int, hop: int) -> None:
    samples = torch.arange(1.0, 41.0).view(2, 20)
    count = (20 - size) // hop + 1
    torch.testing.assert_close(overlapping(samples, size, hop, count), samples.unfold(1, size, hop))
    assert overlapping(samples[0], size, hop, 2).shape == (2, size)
