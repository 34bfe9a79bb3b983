"""Layers and counts of time steps that the convolutional students share, with EfficientAT's settings.

Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TypeGuard, cast

import torch
from torch import Tensor, nn

from distill.data.audio.frames import frame_mask, masked_mean


class ConvolutionLayers(nn.Sequential):
    """Convolutions, batch normalisations and activations in a row.

    In evaluation without gradients, a normalisation after a convolution is folded into it: its scale into the weights,
    its shift into the bias. This saves a pass over the output. The parameters stay as they are: so the state dict is
    that of the layers, and a network that is trained is never folded.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply all layers to (B, C, M, T)."""
        layers = list(self)
        normalised: nn.Module | None = None
        for layer, following in zip_longest(layers, layers[1:]):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
                x, normalised = convolve_and_normalise(layer, following, x), following
            elif layer is not normalised:
                x = layer(x)
        return x


def convolve_and_normalise(convolution: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """Return the batch normalisation of a convolution of (B, C, M, T), folded into it where this is possible.

    Layers that were replaced, or that have hooks, are called one after the other.
    """
    if type(convolution) is not nn.Conv2d or not may_fold(norm) or convolution._forward_hooks or norm._forward_hooks:
        return normalise(norm, convolution(x))
    scale, shift = scale_and_shift(norm)
    bias = shift if convolution.bias is None else shift + scale * convolution.bias
    return convolution._conv_forward(x, convolution.weight * scale.view(-1, 1, 1, 1), bias)


def normalise(norm: nn.Module, x: Tensor) -> Tensor:
    """Return the batch normalisation of (B, C, M, T), with the right gradient where a size is 1.

    PyTorch 2.14 computes a wrong gradient on a CPU if such a size has the stride of another memory format, as for clips
    of a single frame. Input and gradient get plain strides then.
    """
    if not torch.is_grad_enabled() or 1 not in x.shape or torch.compiler.is_compiling():
        return cast(Tensor, norm(x))
    y = cast(Tensor, norm(x.contiguous()))
    if y.requires_grad:
        y.register_hook(Tensor.contiguous)
    return y


def may_fold(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Return whether a layer is a batch normalisation that may be folded: in evaluation, without gradients, in float32.

    A graph is not folded here. Its runtime folds the constants.
    """
    return (
        isinstance(norm, nn.BatchNorm2d)
        and not norm.training
        and norm.weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


def scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift (C,) of each channel by which a batch normalisation acts in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    activation: type[nn.Module] | None = None,
    depthwise: bool = False,
) -> ConvolutionLayers:
    """Return a convolution, batch normalisation and an optional activation, with EfficientAT's settings.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        kernel: Side of the square kernel; odd.
        stride: Stride in frequency and in time.
        activation: Class of the activation. None means no activation.
        depthwise: Whether each input channel is convolved separately.
    """
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        batch_norm(outputs),
    ]
    return ConvolutionLayers(*layers, *([activation()] if activation else []))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Return batch normalisation with EfficientAT's settings."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def initialise(module: nn.Module) -> None:
    """Initialise a layer as the official code does: He for convolutions, N(0, 0.01) for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def round_to_8(channels: float) -> int:
    """Return the nearest multiple of 8: at least 8, and at most a tenth below `channels` (the official rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def mask_padding(x: Tensor, valid: Tensor | None) -> Tensor:
    """Set (B, C, M, T) to zero after the end of each clip, as the padding of a convolution does."""
    return x if valid is None else x * frame_mask(valid, x.shape[3])[:, None, None, :]


def halve_steps(valid: Tensor | None) -> Tensor | None:
    """Return the number of valid time steps after a stride of 2. None stays None."""
    return None if valid is None else (valid + 1) // 2


def valid_steps(valid: Tensor | None, x: Tensor) -> Tensor:
    """Return the number of valid time steps of each clip of `x` (B, C, M, T), int64. None means that all are valid."""
    return torch.full((x.shape[0],), x.shape[3], device=x.device) if valid is None else valid


def mean_and_deviation(frames: Tensor, frame_mask: Tensor) -> Tensor:
    """Return the mean and the unbiased standard deviation of the valid frames.

    Args:
        frames: Frames. Shape (B, T, C).
        frame_mask: True where a frame is valid. Shape (B, T), bool.

    Returns:
        Shape (B, 2 C).
    """
    exact = frames.to(torch.promote_types(frames.dtype, torch.float32))  # whose range holds a sum of squares
    weights = frame_mask.unsqueeze(2).to(exact.dtype)
    count = weights.sum(1)
    mean = masked_mean(exact, frame_mask)
    squares = ((exact - mean.unsqueeze(1)) * weights).square().sum(1)
    return torch.cat([mean, (squares / (count - 1).clamp(min=1) + 1e-8).sqrt()], dim=1).to(frames.dtype)
