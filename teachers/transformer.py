"""The vision transformer of SSAST, PaSST and MATPAC (Dosovitskiy et al. 2021, arXiv 2010.11929), by timm's keys."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from distill.data.encoders.attention import Attention, FeedForward
from distill.data.errors import UserError


class VisionBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, hidden: int, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, epsilon)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, epsilon)
        self.mlp = FeedForward(dim, hidden)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens (batch, tokens, dim), same shape out."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Blocks, then a layer norm. Depth and widths are those of a checkpoint's tensors.

    Args:
        state: Tensors by timm's keys: `blocks.0.mlp.fc1.weight`, ..., `norm.weight`.
        heads: Number of attention heads, which no tensor stores. 0 means one for each 64 of width, as in all published
            models.
        epsilon: Epsilon of the layer norms.
    """

    def __init__(self, state: Mapping[str, Tensor], heads: int = 0, epsilon: float = 1e-6) -> None:
        super().__init__()
        hidden, dim = state["blocks.0.mlp.fc1.weight"].shape
        heads = heads or dim // 64
        if heads < 1 or dim % heads:
            raise UserError(
                f"--teacher.heads {heads}: must divide the width {dim}, and be the number of heads in training"
            )
        depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
        self.blocks = nn.ModuleList(VisionBlock(dim, heads, hidden, epsilon) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, epsilon)

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode tokens (batch, tokens, dim), same shape out."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class PatchEmbedding(nn.Module):
    """A convolution from patches of a spectrogram to tokens."""

    def __init__(self, dim: int, patch: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch, stride)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Embed patches: (batch, bands, time) -> a grid (batch, dim, rows, columns)."""
        # In float32 under autocast too: it is a small share of the arithmetic, and in bfloat16 on a processor with AMX
        # torch allocates 34 GB for SSAST's patches of 10 s.
        with torch.autocast(spectrogram.device.type, enabled=False):
            return self.proj(spectrogram.to(self.proj.weight.dtype).unsqueeze(1))


def flatten(grid: Tensor) -> Tensor:
    """Return a grid (batch, dim, rows, columns) as tokens (batch, rows * columns, dim), row by row."""
    return grid.flatten(2).transpose(1, 2)


def frames_of(tokens: Tensor, rows: int) -> Tensor:
    """Average over the rows of frequency: tokens (batch, rows * columns, dim) -> (batch, columns, dim)."""
    return torch.mean(tokens.unflatten(1, (rows, -1)), dim=1)
