"""DyMN: MobileNetV3 whose kernels, activations and gates depend on the clip.

Schmid et al. 2024, "Dynamic Convolutional Neural Networks as Efficient Pre-trained Audio Models" (arXiv 2310.15648).
Letters of shapes: B batch, C channels, H context, M mel bands, R rows, T time.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.errors import UserError
from distill.students.layers import (
    batch_norm,
    convolution,
    convolve_and_normalise,
    halve_steps,
    initialise,
    mask_padding,
    may_fold,
    normalise,
    round_to_8,
    scale_and_shift,
    valid_steps,
)
from distill.students.log_mel import RowStudent
from distill.students.mobilenet_v3 import Layer, layers_of_width

KERNELS = 4  # mixed in each dynamic convolution
PIECES = 2  # linear pieces of a dynamic activation
_EFFICIENTAT, _SSONDO = 1.0, 30.0  # temperatures of the official codes
# Buffers of an official activation: scales and offsets of its coefficients, which `_DynamicActivation` has in its code.
_CONSTANTS = {"lambdas": (1.0, 1.0, 0.5, 0.5), "init_v": (1.0, 0.0, 0.0, 0.0)}
ANNEALED = 29 / 200  # share of a run after which the temperature is 1: 29 of EfficientAT's 200 epochs


class DyMN(RowStudent):
    """DyMN: 8.64 M parameters at width 1, and a frame every 0.512 s.

    A frame is the mean of the last feature map over frequency, or over each row. A clip is the mean of its frames.
    Each convolution mixes four kernels by a softmax with a temperature. The temperature falls linearly from 30 to 1 in
    the first 29/200 of a run, as in EfficientAT. It is saved with the weights. S-SONDO's code keeps it at 30.

    Args:
        width: Multiplier of all channels, such as 0.1, 0.4 or 2.0.
        temperature: Initial temperature of the softmax; above 0.
        checkpoint: File of official EfficientAT (dymn*) or S-SONDO weights to start from. None means random weights.
            The width of the file must be `width`. The temperature becomes that of the file: 1 for EfficientAT, 30 for
            S-SONDO. The front-end is always S-SONDO's. EfficientAT's has another window and hop, and pre-emphasis, so
            its weights give good embeddings only after training.
        sample_rate: Sample rate of the input, in Hz.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
        rows: Rows of frequency that are kept apart in an embedding: 1 (as published), 2 or 4. Each row adds the size of
            one embedding.
    """

    temperature: Tensor

    def __init__(
        self, width: float = 1.0, temperature: float = 30.0, checkpoint: str | None = None, sample_rate: int = 32_000,
        low_hz: float = 50.0, high_hz: float | None = None, rows: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(sample_rate, low_hz, high_hz, rows)
        first, layers = layers_of_width(width)
        last = layers[-1][1].out
        # Names as in the official checkpoints.
        self.in_c = convolution(1, first, 3, 2, nn.Hardswish)
        self.layers = nn.ModuleList(_DynamicInvertedResidual(inputs, layer, width) for inputs, layer in layers)
        self.out_c = convolution(last, 6 * last, 1, activation=nn.Hardswish)
        self.apply(initialise)
        if not 0 < temperature < math.inf:
            raise UserError(f"--student.temperature {temperature}: must be above 0")
        self.initial_temperature = temperature
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        if checkpoint is not None:
            network = nn.ModuleDict({"in_c": self.in_c, "layers": self.layers, "out_c": self.out_c})
            ours = rf"(?:.*\.)?((?:in_c|layers|out_c)\.(?!.*\.(?:{'|'.join(_CONSTANTS)})$).+)"
            file = self.load_official(network, checkpoint, ours)
            by_ssondo = any(key.startswith("student_model.") for key in file)
            self.temperature.fill_(_SSONDO if by_ssondo else _EFFICIENTAT)

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by the keys of the code that computes at this temperature: EfficientAT 1, S-SONDO 30.

        Raises:
            UserError: the temperature is another one, or the student has another front-end or rows.
        """
        temperature = float(self.temperature)
        if temperature not in (_EFFICIENTAT, _SSONDO):
            raise UserError(f"the official code has the temperature 1 or 30, and the student {temperature:g}")
        parts = {"in_c": self.in_c, "layers": self.layers, "out_c": self.out_c}
        state = self.ssondo_state(parts, "") if temperature == _EFFICIENTAT else self.ssondo_state(parts)
        for key in [key for key in state if key.endswith(".coef_net.0.weight")]:  # of a dynamic activation
            own = key.removesuffix("coef_net.0.weight")
            state |= {own + name: torch.tensor(values) for name, values in _CONSTANTS.items()}
        return state

    def on_progress(self, share: float) -> None:
        """Lower the temperature of the softmaxes. It never rises, so a trained student keeps its temperature."""
        initial = self.initial_temperature
        self.temperature.clamp_(max=max(1.0, initial - (initial - 1) * share / ANNEALED))

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode (B, M, T). Return frames (B, ceil(T / 32), C R), and the number of valid frames (B,)."""
        x = self.in_c(mask_padding(mel.unsqueeze(1), valid))
        valid = halve_steps(valid)
        for layer in self.layers:
            x, valid = layer(x, valid, self.temperature)
        x = self.out_c(x)
        return self.frames_of(x), valid_steps(valid, x)


class _Context(NamedTuple):
    """Context of a block, from its input.

    Args:
        vector: One vector for each clip. Shape (B, H).
        frequencies: Logits of the gates of frequencies. Shape (B, C, M, 1).
        times: Logits of the gates of time steps. Shape (B, C, 1, T).
    """

    vector: Tensor
    frequencies: Tensor
    times: Tensor


class _DynamicInvertedResidual(nn.Module):
    """An inverted residual whose convolutions, activation and gates depend on the context of its input."""

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
            y = self.exp_act(self.exp_conv(y, context.vector, temperature, self.exp_norm))
        y = self.depth_conv(mask_padding(y, valid), context.vector, temperature, self.depth_norm)
        y = self.depth_act(y, context.vector) * context.frequencies.sigmoid() * context.times.sigmoid()
        y = self.proj_conv(y, context.vector, temperature, self.proj_norm)
        return (x + y if self.residual else y), halve_steps(valid) if self.stride == 2 else valid


class _ContextGenerator(nn.Module):
    """Coordinate attention: the context is one layer over the means over time and over frequency."""

    def __init__(self, inputs: int, outputs: int, context: int, stride: int) -> None:
        super().__init__()
        self.joint_conv = nn.Conv2d(inputs, context, 1, bias=False)
        self.joint_norm = batch_norm(context)
        self.conv_f = nn.Conv2d(context, outputs, 1)
        self.conv_t = nn.Conv2d(context, outputs, 1)
        self.stride = stride

    def forward(self, x: Tensor, valid: Tensor | None) -> _Context:
        """Return the context of (B, C, M, T). Its gates have the sizes of the depthwise convolution's output."""
        valid_mask = frame_mask(valid_steps(valid, x), x.shape[3]).to(x.dtype)[:, None, :, None]
        by_frequency = mask_padding(x, valid).sum(3, keepdim=True) / valid_mask.sum(2, keepdim=True)
        sequence = torch.cat([by_frequency, x.mean(2).unsqueeze(3)], dim=2)
        hidden = F.hardswish(convolve_and_normalise(self.joint_conv, self.joint_norm, sequence))
        frequencies, times = hidden[:, :, : x.shape[2]], hidden[:, :, x.shape[2] :] * valid_mask
        count = x.shape[2] + valid_mask.sum((2, 3))
        vector = (frequencies.sum((2, 3)) + times.sum((2, 3))) / count
        if self.stride > 1:
            frequencies, times = (F.avg_pool2d(part, (3, 1), (self.stride, 1), (1, 0)) for part in (frequencies, times))
        return _Context(vector, self.conv_f(frequencies), self.conv_t(times.transpose(2, 3)))


class _DynamicConvolution(nn.Module):
    """A convolution whose kernel is a mixture of `KERNELS` kernels, with other weights for each clip, and its norm.

    Args:
        inputs: Number of input channels; 1 means a depthwise convolution.
        outputs: Number of output channels.
        context: Size of the context vector.
        kernel: Side of the square kernel.
        stride: Stride in frequency and in time.
    """

    def __init__(self, inputs: int, outputs: int, context: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.shape, self.stride = (outputs, inputs, kernel, kernel), stride
        deviation = math.sqrt(2 / (outputs * kernel * kernel))  # He initialisation by fan-out, as in the official code
        self.weight = nn.Parameter(torch.randn(1, 1, KERNELS, math.prod(self.shape)) * deviation)
        self.residuals = nn.ModuleList([nn.Linear(context, KERNELS)])

    def forward(self, x: Tensor, context: Tensor, temperature: Tensor, norm: nn.Module) -> Tensor:
        """Convolve (B, inputs, M, T) by the context (B, H), and normalise. Return (B, outputs, M', T')."""
        mixture = (self.residuals[0](context) / temperature.to(context.dtype)).softmax(1)
        if self.shape[2] > 1 and torch.compiler.is_exporting():
            return cast(Tensor, norm(self._mixed_outputs(x, mixture)))
        kernels = (mixture @ self.weight[0, 0]).view(-1, *self.shape)
        if not may_fold(norm):
            return normalise(norm, self._convolve(x, kernels, None))
        scale, shift = scale_and_shift(norm)
        return self._convolve(x, kernels * scale.view(-1, 1, 1, 1), shift)

    def _convolve(self, x: Tensor, kernels: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve each clip by its own kernels (B, outputs, inputs, side, side), and add the bias (outputs,)."""
        clips, outputs, inputs, side, _ = kernels.shape
        if side == 1:
            kernels, columns = kernels.flatten(2), x.flatten(2)
            y = kernels @ columns if bias is None else torch.baddbmm(bias.view(1, -1, 1), kernels, columns)
            return y.unflatten(2, x.shape[2:])
        weight = kernels.reshape(clips * outputs, inputs, side, side)
        y = F.conv2d(
            x.reshape(1, -1, *x.shape[2:]), weight, None if bias is None else bias.repeat(clips), self.stride,
            side // 2, groups=clips * outputs,
        )  # fmt: skip
        return y.view(clips, outputs, *y.shape[2:])

    def _mixed_outputs(self, x: Tensor, mixture: Tensor) -> Tensor:
        """Mix the outputs of all kernels, depthwise. In a graph, the number of groups cannot depend on the batch."""
        outputs, _, side, _ = self.shape
        kernels = self.weight[0, 0].view(KERNELS, outputs, 1, side, side).transpose(0, 1).flatten(0, 1)
        y = F.conv2d(x, kernels, None, self.stride, side // 2, groups=outputs).unflatten(1, (outputs, KERNELS))
        return (y * mixture[:, None, :, None, None]).sum(2)


class _DynamicActivation(nn.Module):
    """The maximum of two linear functions, for each channel of each clip (Dy-ReLU B, Chen et al. 2020)."""

    def __init__(self, channels: int, context: int) -> None:
        super().__init__()
        self.coef_net = nn.ModuleList([nn.Linear(context, 2 * PIECES * channels)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Activate (B, C, M, T) by the context (B, H). Same shape out. A coefficient of 0 gives ReLU."""
        coefficients = (2 * self.coef_net[0](context).sigmoid() - 1).view(-1, x.shape[1], 2 * PIECES, 1, 1)
        slopes, offsets = coefficients[:, :, :PIECES], 0.5 * coefficients[:, :, PIECES:]
        return torch.maximum(x * (slopes[:, :, 0] + 1) + offsets[:, :, 0], x * slopes[:, :, 1] + offsets[:, :, 1])
