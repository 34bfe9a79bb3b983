"""MobileNetV3 for log-mel spectrograms, as EfficientAT and S-SONDO use it.

Howard et al. 2019 (arXiv 1905.02244); Schmid et al. 2023 (EfficientAT, arXiv 2211.04772); S-SONDO (arXiv 2604.24933).
Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.batch import AudioBatch, Embeddings
from distill.data.checkpoint import read_state_dict
from distill.data.errors import UserError
from distill.data.frontend import LogMel, frame_mask
from distill.students.student import Student


class _Block(NamedTuple):
    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: type[nn.Module]
    stride: int


# MobileNetV3-Large at width 1 (Howard et al., table 1).
_BLOCKS = [
    _Block(3, 16, 16, False, nn.ReLU, 1),
    _Block(3, 64, 24, False, nn.ReLU, 2),
    _Block(3, 72, 24, False, nn.ReLU, 1),
    _Block(5, 72, 40, True, nn.ReLU, 2),
    _Block(5, 120, 40, True, nn.ReLU, 1),
    _Block(5, 120, 40, True, nn.ReLU, 1),
    _Block(3, 240, 80, False, nn.Hardswish, 2),
    _Block(3, 200, 80, False, nn.Hardswish, 1),
    _Block(3, 184, 80, False, nn.Hardswish, 1),
    _Block(3, 184, 80, False, nn.Hardswish, 1),
    _Block(3, 480, 112, True, nn.Hardswish, 1),
    _Block(3, 672, 112, True, nn.Hardswish, 1),
    _Block(5, 672, 160, True, nn.Hardswish, 2),
    _Block(5, 960, 160, True, nn.Hardswish, 1),
    _Block(5, 960, 160, True, nn.Hardswish, 1),
]
_TIME_STRIDE = 32


class MobileNetV3(Student):
    """2.97 M parameters at width 1; a frame every 0.512 s, a clip is the mean of the last map over frequency and time.

    Front-end of S-SONDO: 32 kHz, 128 mel bands from 50 Hz to 16 kHz, 32 ms windows every 16 ms, ln(mel + 0.001).
    Clips of any length: shorter ones in a batch are masked wherever the network mixes time, so that each is
    embedded as if alone.

    Args:
        width: Multiplier of all channels, such as 0.1, 0.5 or 2.0.
        checkpoint: Official EfficientAT (mn*) or S-SONDO weights to start from; the file's width must be `width`.
    """

    sample_rate = 32_000

    def __init__(self, width: float = 1.0, checkpoint: str | None = None) -> None:
        super().__init__()
        if not width > 0:
            raise UserError(f"--student.width {width}: a positive number is wanted")
        self.mel = LogMel(self.sample_rate, window=1024, hop=512, bands=128, low=50.0, high=16_000.0, offset=1e-3)
        self.features = _features(width)
        for module in self.modules():
            _initialise(module)
        if checkpoint is not None:
            _load_official(self.features, Path(checkpoint))

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Embed a batch at 32 kHz."""
        mel = self.mel(batch.waveform)
        valid = self.mel.frames(batch.lengths)
        frames, valid = self.encode_mel(mel, None if bool((valid == mel.shape[2]).all()) else valid)
        step = self.mel.hop / self.sample_rate
        centre = self.mel.window / 2 / self.sample_rate  # odd kernels keep output t over input 32 t
        times = centre + torch.arange(frames.shape[1], device=mel.device) * _TIME_STRIDE * step
        return Embeddings.of_frames(frames, times, frame_mask(valid, frames.shape[1]))

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The network without its front-end.

        Args:
            mel: Log-mel spectrograms (B, M, T).
            valid: Frames inside each clip (B,); None where all are.

        Returns:
            Frames (B, ceil(T / 32), C) and how many of them are valid (B,).
        """
        x = mel.unsqueeze(1)
        if valid is not None:
            x = _mask(x, valid)
        for block in self.features:
            if isinstance(block, _InvertedResidual):
                x, valid = block(x, valid)
            else:  # the first and the last convolution
                x = block(x)
                if block is self.features[0] and valid is not None:
                    valid = _halve(valid)
        frames = x.mean(2).transpose(1, 2)
        return frames, frames.new_full((len(x),), frames.shape[1]).long() if valid is None else valid


class _InvertedResidual(nn.Module):
    """Expand, convolve by channel, squeeze and excite, project; the input is added where shapes allow.

    The parts are numbered as in the official checkpoints, which leave out what a block does not have.
    """

    def __init__(self, inputs: int, block: _Block) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        if block.expanded != inputs:
            parts.append(_convolution(inputs, block.expanded, 1, activation=block.activation))
        self.depthwise = len(parts)
        parts.append(
            _convolution(block.expanded, block.expanded, block.kernel, block.stride, block.activation, depthwise=True)
        )
        if block.squeeze:
            parts.append(_SqueezeExcitation(block.expanded))
        parts.append(_convolution(block.expanded, block.out, 1))
        self.block = nn.Sequential(*parts)
        self.residual = block.stride == 1 and inputs == block.out
        self.stride = block.stride

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y = x
        for index, part in enumerate(self.block):
            if index == self.depthwise and valid is not None:
                y = _mask(y, valid)
            y = part(y, valid) if isinstance(part, _SqueezeExcitation) else part(y)
            if index == self.depthwise and valid is not None and self.stride == 2:
                valid = _halve(valid)
        return (x + y if self.residual else y), valid


class _SqueezeExcitation(nn.Module):
    """Gate each channel by what all channels are on average over frequency and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # The official name of this layer; it can hold several, and there is always one.
        self.conc_se_layers = nn.ModuleList([_Gate(channels, _round_to_8(channels // 4))])

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        if valid is None:
            return x * self.conc_se_layers[0](x.mean((2, 3)))[..., None, None]
        mean = _mask(x, valid).sum((2, 3)) / (valid.view(-1, 1) * x.shape[2])
        return x * self.conc_se_layers[0](mean)[..., None, None]


class _Gate(nn.Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, mean: Tensor) -> Tensor:
        return torch.sigmoid(self.fc2(F.relu(self.fc1(mean))))


def _features(width: float) -> nn.Sequential:
    """First convolution, 15 blocks, last convolution; numbered as in the official checkpoints."""
    channels = [_round_to_8(block.out * width) for block in _BLOCKS]
    inputs = [_round_to_8(16 * width), *channels[:-1]]
    blocks = [
        _InvertedResidual(first, block._replace(expanded=_round_to_8(block.expanded * width), out=out))
        for first, block, out in zip(inputs, _BLOCKS, channels, strict=True)
    ]
    first = _convolution(1, inputs[0], 3, 2, nn.Hardswish)
    last = _convolution(channels[-1], 6 * channels[-1], 1, activation=nn.Hardswish)
    return nn.Sequential(first, *blocks, last)


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    activation: type[nn.Module] | None = None,
    depthwise: bool = False,
) -> nn.Sequential:
    """Convolution, batch normalisation and, unless None, an activation."""
    groups = inputs if depthwise else 1
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def _initialise(module: nn.Module) -> None:
    """As the official code: He for convolutions, N(0, 0.01) for linear layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def _round_to_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8, never more than a tenth below `channels` (the official rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _mask(x: Tensor, valid: Tensor) -> Tensor:
    """Zero (B, C, M, T) after each clip's end, where a clip alone would meet the padding of a convolution."""
    return x * frame_mask(valid, x.shape[3])[:, None, None, :]


def _halve(valid: Tensor) -> Tensor:
    return (valid + 1) // 2


def _load_official(features: nn.Sequential, checkpoint: Path) -> None:
    """Read EfficientAT's `features.*` or S-SONDO's `student_model.model.features.*`; heads are left out."""
    found = {}
    for key, tensor in read_state_dict(checkpoint, option="--student.checkpoint").items():
        if match := re.fullmatch(r"(?:.*\.)?features\.(\d+\..+)", key):
            found[match[1]] = tensor
    wanted = features.state_dict()
    for key in wanted.keys() & found.keys():  # first, since another width can have other keys too
        if found[key].shape != wanted[key].shape:
            shapes = f"{key} is {tuple(found[key].shape)}, not {tuple(wanted[key].shape)}"
            raise UserError(f"--student.checkpoint {checkpoint}: another width ({shapes}); set --student.width")
    if missing := sorted(wanted.keys() - found.keys()):
        raise UserError(f"--student.checkpoint {checkpoint}: no MobileNetV3 ({missing[0]!r} is not in it)")
    if extra := sorted(found.keys() - wanted.keys()):
        raise UserError(f"--student.checkpoint {checkpoint}: another network ({extra[0]!r} has no place)")
    features.load_state_dict(found)
