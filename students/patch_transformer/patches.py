"""Patch embeddings: from a spectrogram to tokens.

Letters of shapes: B batch, C channels, T time, F frequency, D width.
The tokens of all rows (frequency) of the first column (time) come first, then those of the next column.
`visible` (B, columns, rows) is 1 where a patch is visible and 0 where it is hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError

PATCH = 16  # side of a patch of one convolution, in spectra and in mel bands
PUBLISHED_CHANNELS = ((), (384,), (256, 384), (256, 384, 768))
"""Channels of each resolution but the last in CAT's published variants, by the number of these resolutions."""
_BLOCKS_PER_RESOLUTION = 2  # in every resolution but the last


class PatchConvolution(nn.Module):
    """One convolution whose kernel and stride are a patch.

    A token depends on its own patch only, so hidden patches need no masking here.

    Args:
        dim: Width of a token.
    """

    masks = False  # whether `forward` uses `visible`
    side = PATCH

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH, PATCH)
        nn.init.xavier_uniform_(self.proj.weight.view(dim, -1))

    def forward(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed (B, T, F) as tokens (B, T / 16 * F / 16, D). `visible` is not used."""
        return self.proj(spectrogram.unsqueeze(1)).flatten(2).transpose(1, 2)


class MultiResolution(nn.Module):
    """CAT's multi-resolution patch embedding (arXiv 2601.21612).

    The patches grow from one resolution to the next, with convolution blocks between. A token is the sum of the outputs
    of all resolutions. The kernels of the blocks overlap neighbouring patches. A masked clip is therefore convolved
    separately, with hidden patches set to zero. A single resolution has no blocks and needs no masking.

    Args:
        dim: Width of a token.
        sides: Side of a patch in each resolution. Each is a multiple of the one before. The last is that of a token.
        channels: Number of channels of each resolution but the last. None means the published ones: 384; 256 and 384;
            or 256, 384 and 768.

    Attributes:
        side: Side of a token's patch, in spectra and in mel bands.
        masks: Whether `forward` uses `visible`.

    Raises:
        UserError: `sides` are not such multiples, or `channels` has another length.
    """

    def __init__(self, dim: int, sides: Sequence[int] = (4, 8, 16), channels: Sequence[int] | None = None) -> None:
        super().__init__()
        channels = _check_resolutions(sides, channels)
        self.sides, self.side, self.masks = tuple(sides), sides[-1], len(sides) > 1
        widths = (1, *channels, dim)
        kernels = [sides[0], *(b // a for a, b in pairwise(sides))]
        # Names as in the official checkpoints.
        last = nn.Linear(dim, dim)
        nn.init.normal_(last.weight, 0, 0.02)
        nn.init.zeros_(last.bias)
        stages = [_PatchStage(a, b, kernel) for (a, b), kernel in zip(pairwise(widths), kernels, strict=True)]
        self.patch_embed = nn.ModuleList([*stages, last])
        self.conv_blocks = nn.ModuleList(
            nn.ModuleList(_ConvolutionBlock(width) for _ in range(_BLOCKS_PER_RESOLUTION)) for width in channels
        )
        self.stage_output_decode = nn.ModuleList(
            nn.Conv2d(width, dim, self.side // side, self.side // side)
            for width, side in zip(channels, sides, strict=False)
        )

    def forward(self, spectrogram: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed (B, T, F) as tokens (B, T / side * F / side, D). Hidden patches do not change visible tokens."""
        x, summed = spectrogram.unsqueeze(1), torch.zeros((), device=spectrogram.device)
        *stages, last = self.patch_embed
        for number, stage in enumerate(stages):
            x = stage(x)
            if number == len(stages) - 1:
                return summed + last(x.flatten(2).transpose(1, 2))
            shown = None if visible is None else _enlarge_cells(visible, self.side // self.sides[number]).unsqueeze(1)
            for block in self.conv_blocks[number].children():
                x = block(x, shown)
            summed = summed + self.stage_output_decode[number](x).flatten(2).transpose(1, 2)
        raise AssertionError("sides are not empty")


def _check_resolutions(sides: Sequence[int], channels: Sequence[int] | None) -> Sequence[int]:
    """Return the channels of each resolution but the last. Raise UserError if they or the sides are not valid."""
    if not sides or sides[0] < 1 or any(b % a or b <= a for a, b in pairwise(sides)):
        raise UserError(f"--student.resolutions {list(sides)}: must be growing multiples, such as 4 8 16")
    if channels is None and len(sides) <= len(PUBLISHED_CHANNELS):
        return PUBLISHED_CHANNELS[len(sides) - 1]
    if len(channels or ()) != len(sides) - 1:
        raise UserError(f"--student.channels {list(channels or ())}: must have {len(sides) - 1} numbers")
    return channels or ()


def _enlarge_cells(visible: Tensor, times: int) -> Tensor:
    """Repeat each cell (B, columns, rows) `times` times in time and in frequency."""
    return visible.repeat_interleave(times, 1).repeat_interleave(times, 2)


class _PatchStage(nn.Module):
    """A convolution from patches of the feature map before, and a norm over the channels."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, outputs, kernel, kernel)
        nn.init.xavier_uniform_(self.proj.weight.view(outputs, -1))
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return _normalise_channels(self.norm, self.proj(x))


class _ConvolutionBlock(nn.Module):
    """A depthwise 5 x 5 convolution between linear layers, then a feed-forward part. Both are residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)  # the official name
        self.mlp = nn.ModuleDict({"fc1": nn.Conv2d(width, 4 * width, 1), "fc2": nn.Conv2d(4 * width, width, 1)})

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        inner = self.conv1(_normalise_channels(self.norm1, x))
        x = x + self.conv2(self.attn(inner if visible is None else inner * visible))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](_normalise_channels(self.norm2, x))))


def _normalise_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise (B, C, T, F) over its channels."""
    return norm(x.movedim(1, 3)).movedim(3, 1)
