"""Layers and counts of time steps that the convolutional students share."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from distill.data.batch import AudioBatch
from distill.students.layers import (
    ConvolutionLayers,
    convolution,
    convolve_and_normalise,
    halve_steps,
    initialise,
    mask_padding,
    round_to_8,
    valid_steps,
)
from tests.students.tiny import tiny_student


class Normalisations(TorchDispatchMode):
    """Count of the batch normalisations that are computed inside of `with`."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += "batch_norm" in str(function)
        return function(*args, **(kwargs or {}))


def with_statistics(layers: nn.Sequential) -> nn.Sequential:
    """Give all batch normalisations statistics and weights that differ from the initial ones."""
    for norm in (layer for layer in layers if isinstance(layer, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.5, 2)
    return layers.eval()


@pytest.mark.parametrize("bias", [False, True])
def test_a_normalisation_is_folded_in_evaluation_without_gradients(bias: bool) -> None:
    layers = [nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=bias), nn.BatchNorm2d(6), nn.ReLU(), nn.BatchNorm2d(6)]
    network, x = with_statistics(ConvolutionLayers(*layers)), torch.randn(2, 3, 9, 11)
    expected = network(x)
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, atol=1e-6, rtol=1e-6)
        with Normalisations() as normalisations:
            network(x)
    assert normalisations.count == 1  # the last one follows no convolution


def test_a_network_in_training_is_not_folded_and_learns_as_its_layers() -> None:
    network = with_statistics(convolution(2, 4, 3, activation=nn.Hardswish))
    with torch.no_grad():
        network(torch.randn(1, 2, 5, 5))
    plain = nn.Sequential(*copy.deepcopy(list(network)))
    assert network.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(3, 2, 6, 7)
    for either in (network.train(), plain.train()):
        either(x).square().sum().backward()
    torch.testing.assert_close(dict(network.named_buffers()), dict(plain.named_buffers()))
    for own, other in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)
    with torch.no_grad():  # a change of weights is seen at once
        network.eval()[0].weight.mul_(2)
        plain.eval()[0].weight.mul_(2)
        torch.testing.assert_close(network(x), plain(x), atol=1e-5, rtol=1e-5)


def test_batches_in_training_without_gradients_update_the_statistics() -> None:
    network = convolution(1, 2, 3).train()
    with torch.no_grad():
        network(torch.randn(2, 1, 8, 8) + 5)
    assert network[1].num_batches_tracked == 1


def test_layers_with_hooks_or_of_other_classes_are_called() -> None:
    network, x, seen = with_statistics(convolution(1, 2, 3)), torch.randn(1, 1, 4, 4), []
    network[1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(x)
        torch.testing.assert_close(seen[0], network[0](x))
        assert torch.equal(convolve_and_normalise(nn.Identity(), nn.Flatten(0), x), x.flatten())


@pytest.mark.parametrize("name", ["cnn", "mobilenet_v3", "dymn", "eres2net"])
def test_no_normalisation_is_left_in_a_student(name: str) -> None:
    student, batch = tiny_student(name).eval(), AudioBatch.of(torch.randn(1, 32_000), 32_000)
    with Normalisations() as unfolded:
        student(batch)
    with Normalisations() as folded, torch.no_grad():
        student(batch)
    assert unfolded.count > 0 == folded.count


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
