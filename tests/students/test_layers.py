"""Layers and counts of time steps that the convolutional students share."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from distill.students.layers import convolution, halve_steps, initialise, mask_padding, round_to_8, valid_steps


@pytest.mark.parametrize("stride", [1, 2])
def test_valid_steps_are_those_of_the_clip_alone(stride: int) -> None:
    layer = convolution(1, 3, 5, stride).eval()
    x, valid = torch.randn(4, 1, 8, 13), torch.tensor([13, 12, 6, 1])
    together = layer(mask_padding(x, valid))
    steps = halve_steps(valid) if stride == 2 else valid
    for clip, (count, left) in enumerate(zip(valid.tolist(), steps.tolist(), strict=True)):
        alone = layer(x[clip : clip + 1, ..., :count])
        assert left == alone.shape[3]
        torch.testing.assert_close(together[clip, ..., :left], alone[0], atol=1e-6, rtol=1e-5)


def test_without_padding_all_steps_are_valid() -> None:
    x = torch.randn(2, 3, 4, 7)
    assert mask_padding(x, None) is x
    assert halve_steps(None) is None
    assert valid_steps(None, x).tolist() == [7, 7]
    assert valid_steps(torch.tensor([3, 5]), x).tolist() == [3, 5]


def test_a_convolution_has_a_normalisation_and_an_optional_activation() -> None:
    assert [type(layer) for layer in convolution(4, 8, 3)] == [nn.Conv2d, nn.BatchNorm2d]
    layers = convolution(4, 4, 3, 2, nn.ReLU, depthwise=True)
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert layers[0].weight.shape == (4, 1, 3, 3)
    assert layers(torch.randn(1, 4, 10, 7)).shape == (1, 4, 5, 4)


@pytest.mark.parametrize(("channels", "rounded"), [(1.6, 8), (12, 16), (8.8, 8), (11.9, 16), (40, 40), (68, 72)])
def test_channels_become_the_nearest_multiple_of_8_that_loses_at_most_a_tenth(channels: float, rounded: int) -> None:
    assert round_to_8(channels) == rounded


def test_rounding_takes_at_most_a_tenth() -> None:
    for channels in range(8, 600):
        assert 0.9 * channels <= round_to_8(channels) <= channels + 8


def test_convolutions_have_hes_scale_and_linear_layers_a_small_one() -> None:
    wide, linear = nn.Conv2d(16, 64, 3, bias=True), nn.Linear(500, 400)
    for layer in (wide, linear):
        initialise(layer)
        assert layer.bias is not None
        assert not layer.bias.any()
    assert wide.weight.std().item() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.03)
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.03)
