"""DyMN: MobileNetV3 whose kernels, activations and gates depend on the clip.

Schmid et al. 2024, "Dynamic Convolutional Neural Networks as Efficient Pre-trained Audio Models" (arXiv 2310.15648).
Letters of shapes: B batch, C channels, H context, M mel bands, T time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.errors import UserError
from distill.students.log_mel import (
    LogMelStudent,
    batch_norm,
    convolution,
    halve,
    initialise,
    mask,
    round_to_8,
    valid_or_all,
)
from distill.students.mobilenet_v3 import Layer, layers_of_width

KERNELS = 4  # that each dynamic convolution mixes
PIECES = 2  # linear pieces of a dynamic activation
ANNEALED = 29 / 200  # share of a run in which the temperature falls to 1: 29 of EfficientAT's 200 epochs


class DyMN(LogMelStudent):
    """8.64 M parameters at width 1; a frame every 0.512 s, a clip is the mean of the last map over frequency and time.

    Each convolution mixes four kernels by a softmax over `temperature`, which falls from 30 to 1 in the first 29 of
    200 parts of a run, as in EfficientAT, and is saved with the weights. S-SONDO's code leaves it at 30.

    Args:
        width: Multiplier of all channels, such as 0.1, 0.4 or 2.0.
        temperature: To start from.
        checkpoint: Official EfficientAT (dymn*, trained down to a temperature of 1) or S-SONDO weights (30) to start
            from; the file's width must be `width`, and its temperature is taken. The front-end is S-SONDO's:
            EfficientAT's has another window and hop, and pre-emphasis, so that its weights embed well only after
            training.
    """

    time_stride = 32
    temperature: Tensor

    def __init__(self, width: float = 1.0, temperature: float = 30.0, checkpoint: str | None = None) -> None:
        super().__init__()
        first, layers = layers_of_width(width)
        last = layers[-1][1].out
        # Names as in the official checkpoints.
        self.in_c = convolution(1, first, 3, 2, nn.Hardswish)
        self.layers = nn.ModuleList(_Block(inputs, layer, width) for inputs, layer in layers)
        self.out_c = convolution(last, 6 * last, 1, activation=nn.Hardswish)
        self.apply(initialise)
        if not 0 < temperature < math.inf:
            raise UserError(f"--student.temperature {temperature}: above 0 is wanted")
        self.start = temperature
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        if checkpoint is not None:
            network = nn.ModuleDict({"in_c": self.in_c, "layers": self.layers, "out_c": self.out_c})
            ours = r"(?:.*\.)?((?:in_c|layers|out_c)\.(?!.*\.(?:lambdas|init_v)$).+)"
            file = self.load_official(network, checkpoint, ours)
            by_ssondo = any(key.startswith("student_model.") for key in file)
            self.temperature.fill_(30.0 if by_ssondo else 1.0)

    def at(self, share: float) -> None:
        """Cool the softmaxes; they never grow warmer, so a student that was trained goes on as it was."""
        self.temperature.clamp_(max=max(1.0, self.start - (self.start - 1) * share / ANNEALED))

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, M, T) -> frames (B, ceil(T / 32), C), and how many of them are valid (B,)."""
        x = self.in_c(mask(mel.unsqueeze(1), valid))
        valid = halve(valid)
        for layer in self.layers:
            x, valid = layer(x, valid, self.temperature)
        x = self.out_c(x)
        return x.mean(2).transpose(1, 2), valid_or_all(valid, x)


class _Context(NamedTuple):
    """What a block has heard of a clip: one vector (B, H), and gates of frequencies (B, C, M, 1) and times."""

    vector: Tensor
    frequencies: Tensor
    times: Tensor


class _Block(nn.Module):
    """An inverted residual whose parts are all told by the context of its input."""

    def __init__(self, inputs: int, layer: Layer, width: float) -> None:
        super().__init__()
        hidden, low, high = round_to_8(layer.expanded // 4), round_to_8(32 * width), round_to_8(128 * width)
        context = min(max(hidden, low), high)
        self.stride, self.residual = layer.stride, layer.stride == 1 and inputs == layer.out
        self.expands = layer.expanded != inputs
        if self.expands:
            self.exp_conv = _DynamicConvolution(inputs, layer.expanded, context)
            self.exp_norm = batch_norm(layer.expanded)
            self.exp_act = layer.activation()
        self.depth_conv = _DynamicConvolution(1, layer.expanded, context, layer.kernel, layer.stride)
        self.depth_norm = batch_norm(layer.expanded)
        self.depth_act = _DynamicActivation(layer.expanded, context)
        self.proj_conv = _DynamicConvolution(layer.expanded, layer.out, context)
        self.proj_norm = batch_norm(layer.out)
        self.context_gen = _ContextGenerator(inputs, layer.expanded, context, layer.stride)

    def forward(self, x: Tensor, valid: Tensor | None, temperature: Tensor) -> tuple[Tensor, Tensor | None]:
        context, y = self.context_gen(x, valid), x
        if self.expands:
            y = self.exp_act(self.exp_norm(self.exp_conv(y, context.vector, temperature)))
        y = self.depth_norm(self.depth_conv(mask(y, valid), context.vector, temperature))
        y = self.depth_act(y, context.vector) * context.frequencies.sigmoid() * context.times.sigmoid()
        y = self.proj_norm(self.proj_conv(y, context.vector, temperature))
        return (x + y if self.residual else y), halve(valid) if self.stride == 2 else valid


class _ContextGenerator(nn.Module):
    """Averages over time and over frequency, through one layer, are the context (coordinate attention)."""

    def __init__(self, inputs: int, outputs: int, context: int, stride: int) -> None:
        super().__init__()
        self.joint_conv = nn.Conv2d(inputs, context, 1, bias=False)
        self.joint_norm = batch_norm(context)
        self.conv_f = nn.Conv2d(context, outputs, 1)
        self.conv_t = nn.Conv2d(context, outputs, 1)
        self.stride = stride

    def forward(self, x: Tensor, valid: Tensor | None) -> _Context:
        """(B, C, M, T) -> context; the gates have the sizes of the depthwise convolution's output."""
        inside = frame_mask(valid_or_all(valid, x), x.shape[3]).to(x.dtype)[:, None, :, None]
        by_frequency = mask(x, valid).sum(3, keepdim=True) / inside.sum(2, keepdim=True)
        sequence = torch.cat([by_frequency, x.mean(2).unsqueeze(3)], dim=2)
        hidden = F.hardswish(self.joint_norm(self.joint_conv(sequence)))
        frequencies, times = hidden[:, :, : x.shape[2]], hidden[:, :, x.shape[2] :] * inside
        count = x.shape[2] + inside.sum((2, 3))
        vector = (frequencies.sum((2, 3)) + times.sum((2, 3))) / count
        if self.stride > 1:
            frequencies, times = (F.avg_pool2d(part, (3, 1), (self.stride, 1), (1, 0)) for part in (frequencies, times))
        return _Context(vector, self.conv_f(frequencies), self.conv_t(times.transpose(2, 3)))


class _DynamicConvolution(nn.Module):
    """A convolution whose kernel is a mixture, for each clip its own.

    Args:
        inputs: Channels in; 1 convolves each channel by itself.
        outputs: Channels out.
        context: Size of the vector that tells the mixture.
        kernel: Side of the kernel.
        stride: In frequency and time.
    """

    def __init__(self, inputs: int, outputs: int, context: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.shape, self.stride = (outputs, inputs, kernel, kernel), stride
        deviation = math.sqrt(2 / (outputs * kernel * kernel))  # He, by what goes out, as the official code
        self.weight = nn.Parameter(torch.randn(1, 1, KERNELS, math.prod(self.shape)) * deviation)
        self.residuals = nn.ModuleList([nn.Linear(context, KERNELS)])

    def forward(self, x: Tensor, context: Tensor, temperature: Tensor) -> Tensor:
        """(B, inputs, M, T) and (B, H) -> (B, outputs, M', T')."""
        mixture = (self.residuals[0](context) / temperature.to(context.dtype)).softmax(1)
        kernels = mixture @ self.weight[0, 0]
        clips, (outputs, inputs, side, _) = len(x), self.shape
        if side == 1:
            return (kernels.view(clips, outputs, inputs) @ x.flatten(2)).unflatten(2, x.shape[2:])
        weight = kernels.view(clips * outputs, inputs, side, side)
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, None, self.stride, side // 2, groups=clips * outputs)
        return y.view(clips, outputs, *y.shape[2:])


class _DynamicActivation(nn.Module):
    """The larger of two linear functions, for each channel of each clip its own (Dy-ReLU B, Chen et al. 2020)."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.coef_net = nn.ModuleList([nn.Linear(context, 2 * PIECES * channels)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, C, M, T) and (B, H) -> (B, C, M, T). It begins as ReLU."""
        told = (2 * self.coef_net[0](context).sigmoid() - 1).view(len(x), x.shape[1], 2 * PIECES, 1, 1)
        slopes, offsets = told[:, :, :PIECES], 0.5 * told[:, :, PIECES:]
        return torch.maximum(x * (slopes[:, :, 0] + 1) + offsets[:, :, 0], x * slopes[:, :, 1] + offsets[:, :, 1])
