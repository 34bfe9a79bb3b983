"""MobileNetV3 for log-mel spectrograms, as EfficientAT and S-SONDO use it.

Howard et al. 2019 (arXiv 1905.02244); Schmid et al. 2023 (EfficientAT, arXiv 2211.04772); S-SONDO (arXiv 2604.24933).
Letters of shapes: B batch, C channels, M mel bands, R rows of frequency, T time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError
from distill.students.layers import convolution, halve_steps, initialise, mask_padding, round_to_8, valid_steps
from distill.students.log_mel import RowStudent


class Layer(NamedTuple):
    """One row of the table of blocks.

    Args:
        kernel: Side of the depthwise kernel.
        expanded: Number of channels inside the block.
        out: Number of output channels.
        squeeze: Whether the block has squeeze-and-excitation.
        activation: Class of the activation.
        stride: Stride of the depthwise convolution, in frequency and in time.
    """

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: type[nn.Module]
    stride: int


# MobileNetV3-Large at width 1 (Howard et al., table 1).
LAYERS = [
    Layer(3, 16, 16, False, nn.ReLU, 1),
    Layer(3, 64, 24, False, nn.ReLU, 2),
    Layer(3, 72, 24, False, nn.ReLU, 1),
    Layer(5, 72, 40, True, nn.ReLU, 2),
    Layer(5, 120, 40, True, nn.ReLU, 1),
    Layer(5, 120, 40, True, nn.ReLU, 1),
    Layer(3, 240, 80, False, nn.Hardswish, 2),
    Layer(3, 200, 80, False, nn.Hardswish, 1),
    Layer(3, 184, 80, False, nn.Hardswish, 1),
    Layer(3, 184, 80, False, nn.Hardswish, 1),
    Layer(3, 480, 112, True, nn.Hardswish, 1),
    Layer(3, 672, 112, True, nn.Hardswish, 1),
    Layer(5, 672, 160, True, nn.Hardswish, 2),
    Layer(5, 960, 160, True, nn.Hardswish, 1),
    Layer(5, 960, 160, True, nn.Hardswish, 1),
]


def layers_of_width(width: float) -> tuple[int, list[tuple[int, Layer]]]:
    """Return the layers at a width.

    Args:
        width: Multiplier of all channels; above 0.

    Returns:
        Number of channels before the first block, and each block with its number of input channels.

    Raises:
        UserError: the width is not positive.
    """
    if not width > 0:
        raise UserError(f"--student.width {width}: must be above 0")
    channels = [round_to_8(layer.out * width) for layer in LAYERS]
    first = round_to_8(16 * width)
    layers = [
        (inputs, layer._replace(expanded=round_to_8(layer.expanded * width), out=out))
        for inputs, layer, out in zip([first, *channels[:-1]], LAYERS, channels, strict=True)
    ]
    return first, layers


class MobileNetV3(RowStudent):
    """MobileNetV3-Large: 2.97 M parameters at width 1, and a frame every 0.512 s.

    A frame is the mean of the last feature map over frequency, or over each row. A clip is the mean of its frames.

    Args:
        width: Multiplier of all channels, such as 0.1, 0.5 or 2.0.
        checkpoint: File of official EfficientAT (mn*) or S-SONDO weights to start from. None means random weights.
            The width of the file must be `width`. The front-end is always S-SONDO's. EfficientAT's has another window
            and hop, and pre-emphasis, so its weights give good embeddings only after training.
        sample_rate: Sample rate of the input, in Hz.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
        rows: Rows of frequency that are kept apart in an embedding: 1 (as published), 2 or 4. Each row adds the size of
            one embedding.
    """

    def __init__(
        self, width: float = 1.0, checkpoint: str | None = None, sample_rate: int = 32_000, low_hz: float = 50.0,
        high_hz: float | None = None, rows: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(sample_rate, low_hz, high_hz, rows)
        first, layers = layers_of_width(width)
        last = layers[-1][1].out
        # Numbered as in the official checkpoints.
        self.features = nn.Sequential(
            convolution(1, first, 3, 2, nn.Hardswish),
            *(_InvertedResidual(inputs, layer) for inputs, layer in layers),
            convolution(last, 6 * last, 1, activation=nn.Hardswish),
        )
        self.apply(initialise)
        # Depthwise convolutions take half of the time with this order of the weights.
        self.features.to(memory_format=torch.channels_last)
        if checkpoint is not None:
            self.load_official(self.features, checkpoint, r"(?:.*\.)?features\.(\d+\..+)")

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by S-SONDO's keys. Those of EfficientAT are the same without their start."""
        return self.ssondo_state({"features": self.features})

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode (B, M, T). Return frames (B, ceil(T / 32), C R), and the number of valid frames (B,)."""
        x = self.features[0](mask_padding(mel.unsqueeze(1), valid))
        valid = halve_steps(valid)
        for block in list(self.features)[1:-1]:
            x, valid = block(x, valid)
        x = self.features[-1](x)
        return self.frames_of(x), valid_steps(valid, x)


class _InvertedResidual(nn.Module):
    """Expand, convolve depthwise, squeeze and excite, project. The input is added if the shapes are equal.

    The layers are numbered as in the official checkpoints: a layer that a block does not have gets no number.
    """

    def __init__(self, inputs: int, layer: Layer) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        if layer.expanded != inputs:
            parts.append(convolution(inputs, layer.expanded, 1, activation=layer.activation))
        self.depthwise = len(parts)
        parts.append(
            convolution(layer.expanded, layer.expanded, layer.kernel, layer.stride, layer.activation, depthwise=True)
        )
        if layer.squeeze:
            parts.append(_SqueezeExcitation(layer.expanded))
        parts.append(convolution(layer.expanded, layer.out, 1))
        self.block = nn.Sequential(*parts)
        self.residual = layer.stride == 1 and inputs == layer.out
        self.stride = layer.stride

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y = x
        for index, part in enumerate(self.block):
            if index == self.depthwise:
                y = mask_padding(y, valid)
            y = part(y, valid) if isinstance(part, _SqueezeExcitation) else part(y)
            if index == self.depthwise and self.stride == 2:
                valid = halve_steps(valid)
        return (x + y if self.residual else y), valid


class _SqueezeExcitation(nn.Module):
    """Gates of the channels, from the mean of all channels over frequency and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The official name. The official list can have several gates; these networks have one.
        self.conc_se_layers = nn.ModuleList([_Gate(channels, round_to_8(channels // 4))])

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None:
            return x * self.conc_se_layers[0](x.mean((2, 3)))[..., None, None]
        mean = mask_padding(x, valid).sum((2, 3)) / (valid.view(-1, 1) * x.shape[2])
        return x * self.conc_se_layers[0](mean)[..., None, None]


class _Gate(nn.Module):
    """Two linear layers: means of the channels (B, C) -> gates from 0 to 1 (B, C)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, mean: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))
