"""The Fourier transform of exported graphs against torch.fft."""

from __future__ import annotations

import pytest
import torch

from distill.data.audio.transform import FactoredTransform


@pytest.mark.parametrize(
    ("points", "samples"), [(1024, 1024), (1024, 400), (2048, 1102), (512, 400), (320, 320), (251, 251), (7, 3), (1, 1)]
)
def test_equals_the_transform_of_torch(points: int, samples: int) -> None:
    frames = torch.randn(2, 3, samples)
    power = FactoredTransform(points, samples)(frames)
    expected = torch.fft.rfft(frames.double(), points).abs().square()
    assert power.shape == expected.shape
    assert power.dtype == torch.float32
    torch.testing.assert_close(power.double(), expected, atol=2e-6 * float(expected.max()), rtol=0)


def test_is_small_and_not_saved() -> None:
    transform = FactoredTransform(1024, 1024)
    assert sum(buffer.nbytes for buffer in transform.buffers()) < 64 << 10
    assert not transform.state_dict()
    assert all(buffer.dtype != torch.float16 for buffer in transform.half().buffers())
