"""From a spectrogram to tokens. Letters of shapes: B batch, C channels, T time, F frequency, D width.

Tokens go through the rows of frequency of one column of time after the other. `visible` (B, columns, rows) is 1 where a
patch may be seen and 0 where it is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError

PATCH = 16  # spectra, and mel bands
_BLOCKS = 2  # of convolution in every resolution but the last


class PatchConvolution(nn.Module):
    """One convolution whose kernel is a patch: no patch sees another, so masking is left to what comes after."""

    masks = False

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH, PATCH)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))

    def forward(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, T, F) -> tokens (B, T / 16 * F / 16, D)."""
        return self.proj(spectrogram.unsqueeze(1)).flatten(2).transpose(1, 2)


class MultiResolution(nn.Module):
    """CAT's: patches of growing size, convolved between, and the sum of what each size sees (arXiv 2601.21612).

    Convolutions reach into neighbours, so a masked clip is convolved for itself: hidden patches are zero where a kernel
    could reach them.

    Args:
        dim: Width of a token.
        sides: Of the patches in each resolution, each a multiple of the one before, the last 16.
        channels: Of each resolution but the last.

    Raises:
        UserError: sides that do not grow so, or not as many channels.
    """

    masks = True

    def __init__(self, dim: int, sides: Sequence[int] = (4, 8, 16), channels: Sequence[int] = (256, 384)) -> None:
        super().__init__()
        if not sides or sides[-1] != PATCH or any(b % a or b <= a for a, b in pairwise(sides)):
            raise UserError(
                f"--student.resolutions {list(sides)}: multiples, each of the one before, up to 16 are wanted"
            )
        if len(channels) != len(sides) - 1:
            raise UserError(f"--student.channels {list(channels)}: {len(sides) - 1} numbers are wanted")
        self.sides = tuple(sides)
        widths = (1, *channels, dim)
        kernels = [sides[0], *(b // a for a, b in pairwise(sides))]
        # Names as in the official checkpoints.
        last = nn.Linear(dim, dim)
        nn.init.normal_(last.weight, 0, 0.02)
        nn.init.zeros_(last.bias)
        stages = [_Stage(a, b, kernel) for (a, b), kernel in zip(pairwise(widths), kernels, strict=True)]
        self.patch_embed = nn.ModuleList([*stages, last])
        self.conv_blocks = nn.ModuleList(
            nn.ModuleList(_ConvolutionBlock(width) for _ in range(_BLOCKS)) for width in channels
        )
        self.stage_output_decode = nn.ModuleList(
            nn.Conv2d(width, dim, PATCH // side, PATCH // side) for width, side in zip(channels, sides, strict=False)
        )

    def forward(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, T, F) -> tokens (B, T / 16 * F / 16, D)."""
        x, summed = spectrogram.unsqueeze(1), torch.zeros((), device=spectrogram.device)
        *stages, last = self.patch_embed
        for number, stage in enumerate(stages):
            x = stage(x)
            if number == len(stages) - 1:
                return summed + last(x.flatten(2).transpose(1, 2))
            seen = None if visible is None else _enlarged(visible, PATCH // self.sides[number]).unsqueeze(1)
            for block in self.conv_blocks[number].children():
                x = block(x, seen)
            summed = summed + self.stage_output_decode[number](x).flatten(2).transpose(1, 2)
        raise AssertionError("there is a last stage")


def _enlarged(visible: Tensor, times: int) -> Tensor:
    """Each cell as a square of `times` cells."""
    return visible.repeat_interleave(times, 1).repeat_interleave(times, 2)


class _Stage(nn.Module):
    """Patches of the last map, as a convolution, and a norm over their channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, kernel, kernel)
        nn.init.xavier_uniform_(self.proj.weight.view(outputs, -1))
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return _over_channels(self.norm, self.proj(x))


class _ConvolutionBlock(nn.Module):
    """Depthwise 5 x 5 between linear maps, then a feed-forward part, each added to what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)  # the official name
        self.mlp = nn.ModuleDict({"fc1": nn.Conv2d(width, 4 * width, 1), "fc2": nn.Conv2d(4 * width, width, 1)})

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        inner = self.conv1(_over_channels(self.norm1, x))
        x = x + self.conv2(self.attn(inner if visible is None else inner * visible))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](_over_channels(self.norm2, x))))


def _over_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return norm(x.movedim(1, 3)).movedim(3, 1)
