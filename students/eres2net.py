"""ERes2Net with a fifth stage, the smallest and slowest student of S-SONDO.

Chen et al. 2023, "An Enhanced Res2Net with Local and Global Feature Fusion for Speaker Verification" (arXiv
2305.12838); the fifth stage is S-SONDO's. Letters of shapes: B batch, C channels, M mel bands, T time.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError
from distill.students.layers import (
    ConvolutionLayers,
    convolve_and_normalise,
    halve_steps,
    mask_padding,
    mean_and_deviation,
    valid_steps,
)
from distill.students.log_mel import LogMelStudent

BLOCKS = (3, 4, 6, 3, 3)
_WIDTHS = (1, 2, 4, 8, 2)  # of the stages, as multiples of the first
_SCALE = 2  # groups of channels in a block, convolved one after the other


class ERes2Net(LogMelStudent):
    """ERes2Net: 1.37 M parameters with 16 channels, and a frame every 0.256 s.

    It costs 12.7 times the operations of MobileNetV3. A frame is the last feature map at one time step, over all
    frequencies. A clip is the mean and the standard deviation of its frames, so its embedding is twice as wide.

    Args:
        channels: Number of channels of the first stage; even, 16 in S-SONDO.
        checkpoint: File of official S-SONDO weights to start from, with the same `channels`. None means random weights.
        sample_rate: Sample rate of the input, in Hz.
        low_hz: Lower edge of the first mel band, in Hz.
        high_hz: Upper edge of the last mel band, in Hz. None means half of the sample rate.
    """

    time_stride = 16
    width_option = "channels"

    def __init__(
        self,
        channels: int = 16,
        checkpoint: str | None = None,
        sample_rate: int = 32_000,
        low_hz: float = 50.0,
        high_hz: float | None = None,
    ) -> None:
        super().__init__(sample_rate, low_hz, high_hz)
        if channels < 2 or channels % 2:
            raise UserError(f"--student.channels {channels}: must be an even number, at least 2")
        # Names as in the official checkpoints.
        network = nn.ModuleDict({"conv1": nn.Conv2d(1, channels, 3, padding=1, bias=False)})
        network["bn1"] = nn.BatchNorm2d(channels)
        inputs = channels
        for stage, (blocks, width) in enumerate(zip(BLOCKS, _WIDTHS, strict=True), 1):
            layers = []
            for block in range(blocks):
                stride = 2 if block == 0 and stage > 1 else 1
                layers.append(_Res2NetBlock(inputs, width * channels, stride, fused=stage > 2))
                inputs = 2 * width * channels
            network[f"layer{stage}"] = nn.ModuleList(layers)
        for stage, (before, after) in enumerate(pairwise(_WIDTHS), 1):
            network[f"layer{stage}_downsample"] = nn.Conv2d(
                2 * before * channels, 2 * after * channels, 3, stride=2, padding=1, bias=False
            )
            network[_fusion_name(stage)] = _AttentionalFusion(2 * after * channels)
        # Channels last would take a third of the time, but PyTorch 2.14 crashes then with clips of one frame.
        self.network = network
        if checkpoint is not None:
            parts = r"((?:conv1|bn1|layer\d(?:_downsample)?|fuse_mode\d+)\..+)"
            self.load_official(network, checkpoint, rf"(?:student_model\.)?(?:model\.)?{parts}")

    def official_state(self) -> dict[str, Tensor]:
        """Return the weights by S-SONDO's keys."""
        return self.ssondo_state(dict(self.network.items()))

    def encode_mel(self, mel: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode (B, M, T). Return frames (B, ceil(T / 16), C), and the number of valid frames of each clip (B,)."""
        network = self.network
        x = convolve_and_normalise(network["conv1"], network["bn1"], mask_padding(mel.unsqueeze(1), valid)).relu()
        fused = x
        for stage in range(1, len(BLOCKS) + 1):
            valid_before = valid
            for block in network[f"layer{stage}"].children():
                x, valid = block(x, valid)
            if stage == 1:
                fused = x
            else:
                lower = network[f"layer{stage - 1}_downsample"](mask_padding(fused, valid_before))
                fused = network[_fusion_name(stage - 1)](x, lower)
        return fused.flatten(1, 2).transpose(1, 2), valid_steps(valid, fused)

    def encode(self, batch: AudioBatch) -> Embeddings:
        """Encode a batch of audio at `sample_rate`."""
        embeddings = super().encode(batch)
        return embeddings._replace(clip=mean_and_deviation(embeddings.frames, embeddings.frame_mask))


def _fusion_name(stage: int) -> str:
    """Return the official name of the layer that fuses the stages from 1 to `stage` + 1."""
    return "fuse_mode" + "".join(str(number) for number in range(1, stage + 2))


class _Res2NetBlock(nn.Module):
    """A residual block. The input of a group of channels includes the output of the group before it."""

    def __init__(self, inputs: int, planes: int, stride: int, fused: bool) -> None:
        super().__init__()
        width = planes // 2
        self.stride, self.width = stride, width
        self.conv1 = nn.Conv2d(inputs, width * _SCALE, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * _SCALE)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(_SCALE))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(_SCALE))
        self.fuse_models = nn.ModuleList(_AttentionalFusion(width) for _ in range(_SCALE - 1 if fused else 0))
        self.conv3 = nn.Conv2d(width * _SCALE, 2 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * planes)
        self.act = nn.Hardtanh(0.0, 20.0)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != 2 * planes:
            self.shortcut = ConvolutionLayers(
                nn.Conv2d(inputs, 2 * planes, 1, stride, bias=False), nn.BatchNorm2d(2 * planes)
            )

    def forward(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        valid = halve_steps(valid) if self.stride == 2 else valid
        groups = self.act(convolve_and_normalise(self.conv1, self.bn1, x)).split(self.width, dim=1)
        outputs: list[Tensor] = []
        for number, group in enumerate(groups):
            if outputs:
                group = self.fuse_models[number - 1](outputs[-1], group) if self.fuse_models else outputs[-1] + group
            group = mask_padding(group, valid)
            outputs.append(self.act(convolve_and_normalise(self.convs[number], self.bns[number], group)))
        y = convolve_and_normalise(self.conv3, self.bn3, torch.cat(outputs, dim=1))
        return self.act(y + self.shortcut(x)), valid


class _AttentionalFusion(nn.Module):
    """The sum of two feature maps, weighted by a gate over both (attentional feature fusion)."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        inner = max(1, channels // reduction)
        self.local_att = ConvolutionLayers(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gate = self.local_att(torch.cat([x, y], dim=1)).tanh()
        return x * (1 + gate) + y * (1 - gate)
