"""Attention and feed-forward of a vision transformer's block, for teachers and students. Weights have timm's keys."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim: Width of the tokens.
        heads: Number of attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, inside: Tensor | None = None) -> Tensor:
        """Return the attended tokens.

        Args:
            tokens: Shape (batch, tokens, dim).
            inside: False at tokens that are not attended to. Shape (batch, tokens). None attends to all.

        Returns:
            Shape (batch, tokens, dim).
        """
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if inside is None else inside[:, None, None, :]
        return self.proj(F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Linear, GELU, Linear.

    Args:
        dim: Width of the tokens.
        hidden: Width between the two.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token. Shape (batch, tokens, dim) for input and output."""
        return self.fc2(F.gelu(self.fc1(tokens)))
