"""The parts of ERes2Net against formulas; test_log_mel.py compares the network with the official one."""

from __future__ import annotations

import pytest
import torch

from distill.data.errors import UserError
from distill.students.eres2net import ERes2Net, _AttentionalFusion
from distill.students.layers import mean_and_deviation


def test_a_clip_is_the_mean_and_the_unbiased_deviation_of_its_valid_frames() -> None:
    frames = torch.randn(2, 6, 3)
    valid = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    found = mean_and_deviation(frames, valid)
    for clip, count in enumerate((6, 4)):
        own = frames[clip, :count]
        torch.testing.assert_close(found[clip], torch.cat([own.mean(0), own.std(0)]), atol=1e-4, rtol=1e-3)


def test_one_frame_has_no_deviation() -> None:
    found = mean_and_deviation(torch.ones(1, 3, 2), torch.tensor([[True, False, False]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, 1e-4, 1e-4]]))


def test_the_embedding_of_a_clip_is_twice_as_wide_as_that_of_a_frame() -> None:
    student = ERes2Net(2).eval()
    assert student.clip_dim == 2 * student.frame_dim
    assert student.frame_hop == pytest.approx(0.256)


def test_equal_gates_give_the_sum_of_both_feature_maps() -> None:
    fusion = _AttentionalFusion(4).eval()
    x, y = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 3, 5)
    torch.nn.init.zeros_(fusion.local_att[-1].weight)
    torch.testing.assert_close(fusion(x, y), x + y)
    torch.nn.init.constant_(fusion.local_att[-1].bias, 100.0)  # a gate of 1
    torch.testing.assert_close(fusion(x, y), 2 * x)


@pytest.mark.parametrize("channels", [0, 1, 5])
def test_the_number_of_channels_is_even(channels: int) -> None:
    with pytest.raises(UserError, match=f"--student.channels {channels}: must be an even number, at least 2"):
        ERes2Net(channels)
