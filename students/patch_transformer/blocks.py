"""Transformer blocks that also tell what their feed-forward part made.

Letters of shapes: B batch, N tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distill.data.encoders.attention import Attention, FeedForward

EPSILON = 1e-6


class _Block(nn.Module):
    """Attention and feed-forward; what is learned from is the feed-forward's output before it is added.

    Args:
        dim: Width.
        heads: Of attention.
        ratio: Width of the feed-forward part over `dim`.
        drop: Chance that a block is left out for a clip, in training (Huang et al. 2016).
    """

    def __init__(self, dim: int, heads: int, ratio: float, drop: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPSILON)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, EPSILON)
        self.mlp = FeedForward(dim, int(dim * ratio))
        self.drop = drop

    def dropped(self, branch: Tensor) -> Tensor:
        """A branch, left out for some clips, and larger for the others."""
        if not self.training or not self.drop:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * kept / (1 - self.drop)


class PostNormBlock(_Block):
    """Normalises what has been added (EAT, CAT)."""

    def forward(self, tokens: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) -> the same shape, and what the feed-forward part made."""
        tokens = self.norm1(tokens + self.dropped(self.attn(tokens, inside)))
        made = self.mlp(tokens)
        return self.norm2(tokens + self.dropped(made)), made


class PreNormBlock(_Block):
    """Normalises what goes in (MATPAC)."""

    def forward(self, tokens: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) -> the same shape, and what the feed-forward part made."""
        tokens = tokens + self.dropped(self.attn(self.norm1(tokens), inside))
        made = self.mlp(self.norm2(tokens))
        return tokens + self.dropped(made), made


def positions(columns: int, rows: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Fixed sines and cosines: the first half of the channels tells frequency, the second time (MAE's table).

    Returns:
        Row by row of frequency within each column of time. Shape (columns * rows, dim), float32.
    """
    rates = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float32, device=device) / (dim / 4))

    def table(count: int) -> Tensor:
        angles = torch.arange(count, dtype=torch.float32, device=device).unsqueeze(1) * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    times = table(columns).unsqueeze(1).expand(-1, rows, -1)
    frequencies = table(rows).unsqueeze(0).expand(columns, -1, -1)
    return torch.cat([frequencies, times], dim=2).flatten(0, 1)
