"""The table of MobileNetV3 at any width, and its blocks; test_log_mel.py compares the network with the official one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from distill.data.errors import UserError
from distill.students.mobilenet_v3 import LAYERS, MobileNetV3, layers_of_width


def test_at_width_1_the_layers_are_those_of_the_paper() -> None:
    first, layers = layers_of_width(1.0)
    assert first == 16
    assert [layer for _, layer in layers] == LAYERS
    assert [inputs for inputs, _ in layers] == [16, *(layer.out for layer in LAYERS[:-1])]


def test_channels_are_multiples_of_8_at_any_width() -> None:
    for width in (0.1, 0.37, 2.0):
        first, layers = layers_of_width(width)
        assert {number % 8 for number in (first, *(layer.out for _, layer in layers))} == {0}
        assert all(inputs == before.out for (_, before), (inputs, _) in pairwise(layers))
        assert all(layer.out >= 0.9 * width * full.out for (_, layer), full in zip(layers, LAYERS, strict=True))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_positive_is_refused(width: float) -> None:
    with pytest.raises(UserError, match=f"--student.width {width}: must be above 0"):
        MobileNetV3(width)


def test_a_residual_is_added_where_the_shapes_are_equal() -> None:
    blocks = list(MobileNetV3(0.1).eval().features)[1:-1]
    assert [block.residual for block in blocks] == [
        layer.stride == 1 and inputs == layer.out for inputs, layer in layers_of_width(0.1)[1]
    ]
    block = next(block for block in blocks if block.residual)
    x = torch.randn(2, block.block[-1][0].out_channels, 8, 6)
    torch.nn.init.zeros_(block.block[-1][1].weight)  # the last normalisation: the branch is zero
    assert block(x, None)[0].equal(x)


def test_a_frame_is_32_spectra_and_every_stride_halves_the_valid_ones() -> None:
    student = MobileNetV3(0.1).eval()
    with torch.no_grad():
        frames, valid = student.encode_mel(torch.randn(2, 128, 321), torch.tensor([321, 33]))
    assert frames.shape[:2] == (2, 11)
    assert valid.tolist() == [11, 2]
