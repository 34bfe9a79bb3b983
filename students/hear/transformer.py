"""HEAR's transformer block: attention with learned relative positions, in keys and in values.

The published code gathers a (time, time, dim) table of positions for each product. Only 2 * time of its rows differ, so
here queries meet those rows once, and the products are read along the diagonals of the result: the same values for a
third of the time.
Letters of shapes: B batch, H heads, T time, D width of a head, Q queries of a piece.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.students.hear.dropout import Dropout

_QUERIES = 100  # in a piece; fewer would waste less of each product, but make it smaller


class RelativeAttention(nn.Module):
    """Multi-head self-attention with biases and tables in the manner of Transformer-XL (Dai et al. 2019).

    score(i, j) = ((query_i + content_bias) . key_j + (query_i + position_bias) . position_keys[j - i]) / sqrt(D), and
    each probability weighs value_j + position_values[j - i]. Heads share the tables.

    Args:
        dim: Width of a token.
        heads: Number of heads.
        reach: Most tokens that it can take; row `j - i + reach` of a table belongs to the distance j - i.
        dropout: Share of probabilities that are dropped.
    """

    def __init__(self, dim: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.reach, self.dropout = heads, reach, Dropout(dropout)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        size = dim // heads
        self.content_bias = nn.Parameter(torch.zeros(heads, size))
        self.position_bias = nn.Parameter(torch.zeros(heads, size))
        self.position_keys = nn.Parameter(torch.randn(2 * reach, size))
        self.position_values = nn.Parameter(torch.randn(2 * reach, size))
        for part in self.qkv.weight.data.chunk(3):
            nn.init.xavier_uniform_(part)

    def forward(self, tokens: Tensor, outside: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            tokens: Shape (B, T, dim).
            outside: True where a token is padding and is not heard. Shape (B, T), bool.

        Returns:
            Shape (B, T, dim).
        """
        time = tokens.shape[1]
        # Copied once here; every product below would copy its part of it again.
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        scale = query.shape[3] ** -0.5
        by_content = (query + self.content_bias.unsqueeze(1)) * scale
        by_position = (query + self.position_bias.unsqueeze(1)) * scale
        unheard = None if outside is None else outside[:, None, None, :]
        attended = []
        piece = time if isinstance(time, torch.SymInt) else _QUERIES  # a graph for any time cannot count its pieces
        for first in range(0, time, piece) if isinstance(time, int) else (0,):
            count = min(piece, time - first) if isinstance(time, int) else time
            rows = slice(self.reach - first - count, self.reach - first + time)
            scores = by_content[:, :, first : first + count] @ key.transpose(2, 3)
            band = by_position[:, :, first : first + count] @ self.position_keys[rows].T
            scores = scores + diagonals_to_columns(band, time)
            if unheard is not None:
                scores = scores.masked_fill(unheard, torch.finfo(scores.dtype).min)
            weights = self.dropout(scores.softmax(3))
            attended.append(weights @ value + columns_to_diagonals(weights) @ self.position_values[rows])
        return self.out(torch.cat(attended, dim=2).transpose(1, 2).flatten(2))


def diagonals_to_columns(band: Tensor, time: int) -> Tensor:
    """Read (..., Q, T + Q) so that out[i, j] = band[i, j - i + Q]. Shape (..., Q, T). A view, no copy."""
    queries, width = band.shape[-2:]
    return band.flatten(-2)[..., queries:].unflatten(-1, (queries, width - 1))[..., :time]


def columns_to_diagonals(weights: Tensor) -> Tensor:
    """The inverse: out[i, j - i + Q] = weights[i, j], and zero elsewhere. (..., Q, T) -> (..., Q, T + Q)."""
    queries, time = weights.shape[-2:]
    shifted = F.pad(weights, (0, queries - 1)).flatten(-2)
    return F.pad(shifted, (queries, 0)).unflatten(-1, (queries, time + queries))


class Block(nn.Module):
    """Pre-norm block; its feed-forward part has a norm of its own after the block's (as the official weights want).

    Args:
        dim: Width of a token.
        hidden: Width of the feed-forward part.
        heads: Of attention.
        reach: Most tokens.
        dropout: After the activation, the feed-forward part, and on attention's probabilities.
    """

    def __init__(self, dim: int, hidden: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = RelativeAttention(dim, heads, reach, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.SiLU(), Dropout(dropout), nn.Linear(hidden, dim),
            Dropout(dropout),
        )  # fmt: skip

    def forward(self, tokens: Tensor, outside: Tensor | None = None) -> Tensor:
        """(B, T, dim), same shape out; `outside` (B, T) is True at padding."""
        tokens = tokens + self.attention(self.norm1(tokens), outside)
        return tokens + self.feed_forward(self.norm2(tokens))
