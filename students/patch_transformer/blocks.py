"""Transformer blocks that also return the output of their feed-forward part.

Letters of shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.data.encoders.attention import Attention, FeedForward

EPSILON = 1e-6


class _TransformerBlock(nn.Module):
    """The layers of a block, and stochastic depth (Huang et al. 2016).

    Args:
        dim: Width of a token.
        heads: Number of attention heads.
        ratio: Width of the feed-forward part, as a multiple of `dim`.
        drop: Probability that a branch is dropped for a clip, in training. 0 disables it.
    """

    def __init__(self, dim: int, heads: int, ratio: float, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, EPSILON)
        self.mlp = FeedForward(dim, int(dim * ratio))
        self.drop = drop

    def drop_branch(self, branch: Tensor) -> Tensor:
        """Set a branch (B, N, D) to zero for random clips, and scale it for the others. Only in training."""
        if not self.training or not self.drop:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * kept / (1 - self.drop)


class PostNormBlock(_TransformerBlock):
    """A block that normalises after each addition (EAT, CAT)."""

    def forward(self, tokens: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Transform tokens (B, N, D); `valid` (B, N) is False at padding, and None means that all tokens are valid.

        Returns:
            Tokens, and the output of the feed-forward part before it is added. Both (B, N, D).
        """
        tokens = self.norm1(tokens + self.drop_branch(self.attn(tokens, valid)))
        branch = self.mlp(tokens)
        return self.norm2(tokens + self.drop_branch(branch)), branch


class PreNormBlock(_TransformerBlock):
    """A block that normalises the input of each branch (MATPAC)."""

    def forward(self, tokens: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Transform tokens (B, N, D); `valid` (B, N) is False at padding, and None means that all tokens are valid.

        Returns:
            Tokens, and the output of the feed-forward part before it is added. Both (B, N, D).
        """
        tokens = tokens + self.drop_branch(self.attn(self.norm1(tokens), valid))
        branch = self.mlp(self.norm2(tokens))
        return tokens + self.drop_branch(branch), branch


def positions(columns: int, rows: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Return fixed sine and cosine positions (MAE's table).

    The first half of the channels encodes the row (frequency), the second half the column (time).

    Args:
        columns: Number of patches in time.
        rows: Number of patches in frequency.
        dim: Width of a token; a multiple of 4.
        device: Device of the result. None means the CPU.

    Returns:
        Positions of all rows of the first column, then of the next column. Shape (columns * rows, dim), float32.
    """
    rates = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float32, device=device) / (dim / 4))

    def table(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float32, device=device).unsqueeze(1) * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    times = table(columns).unsqueeze(1).expand(-1, rows, -1)
    frequencies = table(rows).unsqueeze(0).expand(columns, -1, -1)
    return torch.cat([frequencies, times], dim=2).flatten(0, 1)
