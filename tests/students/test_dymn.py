"""The dynamic layers of DyMN against slow formulas; test_log_mel.py compares the network with the official one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from distill.data.errors import UserError
from distill.students.dymn import DyMN, _ContextGenerator, _DynamicActivation, _DynamicConvolution


@pytest.mark.parametrize(("inputs", "kernel", "stride"), [(6, 1, 1), (1, 3, 2), (1, 5, 1)])
def test_each_clip_is_convolved_by_its_own_mixture_of_kernels(inputs: int, kernel: int, stride: int) -> None:
    layer, temperature = _DynamicConvolution(inputs, 6, 4, kernel, stride), torch.tensor(3.0)
    x, context = torch.randn(3, 6, 8, 10), torch.randn(3, 4)
    found = layer(x, context, temperature, nn.Identity())
    kernels = layer.weight[0, 0].view(-1, 6, inputs, kernel, kernel)
    for clip in range(3):
        shares = (layer.residuals[0](context[clip]) / 3.0).softmax(0)
        own = sum(share * kernel for share, kernel in zip(shares, kernels, strict=True))
        expected = F.conv2d(x[clip : clip + 1], own, None, stride, kernel // 2, groups=6 // inputs)
        torch.testing.assert_close(found[clip : clip + 1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("inputs", "kernel"), [(6, 1), (1, 3)])
def test_a_normalisation_is_folded_into_the_kernels_of_each_clip(inputs: int, kernel: int) -> None:
    layer, norm = _DynamicConvolution(inputs, 6, 4, kernel), nn.BatchNorm2d(6).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2)
    arguments = (torch.randn(3, 6, 8, 10), torch.randn(3, 4), torch.tensor(3.0))
    with torch.no_grad():
        expected = norm(layer(*arguments, nn.Identity()))
        torch.testing.assert_close(layer(*arguments, norm), expected, atol=1e-6, rtol=1e-5)


def test_a_high_temperature_mixes_the_kernels_equally() -> None:
    layer = _DynamicConvolution(6, 6, 4)
    x, context = torch.randn(1, 6, 2, 3), torch.randn(1, 4)
    mean = layer.weight[0, 0].mean(0).view(6, 6, 1, 1)
    torch.testing.assert_close(
        layer(x, context, torch.tensor(1e6), nn.Identity()), F.conv2d(x, mean), atol=1e-4, rtol=1e-4
    )
    assert not layer(x, context, torch.tensor(1.0), nn.Identity()).allclose(F.conv2d(x, mean), atol=1e-3)


def test_an_activation_with_coefficients_of_0_is_relu() -> None:
    activation, x = _DynamicActivation(5, 4), torch.randn(2, 5, 3, 7)
    for parameter in activation.parameters():
        torch.nn.init.zeros_(parameter)
    assert activation(x, torch.randn(2, 4)).equal(x.relu())


def test_an_activation_is_the_maximum_of_two_lines() -> None:
    activation, x, context = _DynamicActivation(2, 4), torch.randn(1, 2, 3, 3), torch.randn(1, 4)
    numbers = (2 * activation.coef_net[0](context).sigmoid() - 1).view(2, 4)
    lines = [[(1 + a) * x[0, c] + 0.5 * p, b * x[0, c] + 0.5 * q] for c, (a, b, p, q) in enumerate(numbers)]
    expected = torch.stack([torch.maximum(*pair) for pair in lines])
    torch.testing.assert_close(activation(x, context)[0], expected)


def test_a_context_of_a_padded_clip_is_that_of_the_clip_alone() -> None:
    generator = _ContextGenerator(3, 6, 8, stride=2).eval()
    x = torch.randn(2, 3, 8, 12)
    x[1, :, :, 7:] = 0
    together, alone = generator(x, torch.tensor([12, 7])), generator(x[1:, :, :, :7], None)
    torch.testing.assert_close(together.vector[1:], alone.vector, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.frequencies[1:], alone.frequencies, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.times[1:, ..., :4], alone.times, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_must_be_positive_and_finite(temperature: float) -> None:
    with pytest.raises(UserError, match=r"--student\.temperature .*: must be above 0"):
        DyMN(0.1, temperature)


@pytest.mark.parametrize(("inputs", "kernel", "stride"), [(1, 3, 2), (1, 5, 1)])
def test_a_graph_mixes_outputs_instead_of_kernels(
    inputs: int, kernel: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, temperature = _DynamicConvolution(inputs, 6, 4, kernel, stride), torch.tensor(3.0)
    x, context = torch.randn(3, 6, 8, 10), torch.randn(3, 4)
    expected = layer(x, context, temperature, nn.Identity())
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(layer(x, context, temperature, nn.Identity()), expected, atol=1e-5, rtol=1e-4)
