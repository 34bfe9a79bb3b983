"""HEAR's transformer block: attention with learned relative positions, in keys and in values.

The published code gathers a (time, time, dim) table of positions for each product. Only 2 * time of its rows differ.
Here the queries are multiplied by those rows once, and the products are read along the diagonals of the result. The
values are the same, and it takes a third of the time.
Letters of shapes: B batch, H heads, T time, D width of a head, Q queries of a piece.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.students.hear.dropout import Dropout

_QUERIES = 100  # in a piece; fewer compute fewer unused products, but in smaller matrices


class RelativeAttention(nn.Module):
    """Multi-head self-attention with biases and tables of relative positions, as in Transformer-XL (Dai et al. 2019).

    score(i, j) = ((query_i + content_bias) . key_j + (query_i + position_bias) . position_keys[j - i]) / sqrt(D). The
    output is the sum of value_j + position_values[j - i], weighted by the softmax of the scores. Heads share tables.

    Args:
        dim: Width of a token.
        heads: Number of heads.
        reach: Largest number of tokens. Row `j - i + reach` of a table belongs to the distance j - i.
        dropout: Dropout rate of the probabilities.
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

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute attention over tokens.

        Args:
            tokens: Shape (B, T, dim); T is at most `reach`.
            padding: True at padding. Shape (B, T), bool. None means that all tokens are valid.

        Returns:
            Shape (B, T, dim).
        """
        time = tokens.shape[1]
        # One copy here avoids a copy of each part in every product below.
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        scale = query.shape[3] ** -0.5
        content_query = (query + self.content_bias.unsqueeze(1)) * scale
        position_query = (query + self.position_bias.unsqueeze(1)) * scale
        hidden_keys = None if padding is None else padding[:, None, None, :]
        attended = []
        # A graph for any length has no fixed number of pieces.
        piece = time if isinstance(time, torch.SymInt) else _QUERIES
        for first in range(0, time, piece) if isinstance(time, int) else (0,):
            count = min(piece, time - first) if isinstance(time, int) else time
            rows = slice(self.reach - first - count, self.reach - first + time)
            queries = (content_query[:, :, first : first + count], position_query[:, :, first : first + count])
            tables = (self.position_keys[rows], self.position_values[rows])
            attended.append(self._attend(queries, key, value, tables, hidden_keys))
        return self.out(torch.cat(attended, dim=2).transpose(1, 2).flatten(2))

    def _attend(
        self,
        queries: tuple[Tensor, Tensor],
        key: Tensor,
        value: Tensor,
        tables: tuple[Tensor, Tensor],
        hidden_keys: Tensor | None,
    ) -> Tensor:
        """Compute the output of one piece of the queries over all keys. Shape (B, H, Q, D)."""
        content_query, position_query = queries
        if torch.is_grad_enabled() and not torch.is_autocast_enabled(key.device.type) and key.requires_grad:
            kept = None
            if self.training and self.dropout.share:
                kept = self.dropout.draw_mask((*content_query.shape[:3], key.shape[2]), key.device)
            scale = 1 / (1 - self.dropout.share) if kept is not None else 1.0
            return _RelativeAttentionFunction.apply(
                content_query, position_query, key, value, *tables, hidden_keys, kept, scale
            )
        weights = self.dropout(_weights(content_query, position_query, key, tables[0], hidden_keys))
        return weights @ value + columns_to_diagonals(weights) @ tables[1]


def _weights(
    content_query: Tensor, position_query: Tensor, key: Tensor, position_keys: Tensor, hidden_keys: Tensor | None
) -> Tensor:
    """Return the probabilities of the keys. Shape (B, H, Q, T)."""
    scores = content_query @ key.transpose(2, 3)
    scores += diagonals_to_columns(position_query @ position_keys.T, key.shape[2])
    if hidden_keys is not None:
        scores = scores.masked_fill(hidden_keys, torch.finfo(scores.dtype).min)
    return scores.softmax(3)


class _RelativeAttentionFunction(torch.autograd.Function):
    """Relative attention with an explicit gradient.

    The transpose of reading along diagonals is writing along them. Autograd keeps the probabilities three times: before
    and after dropout, and along diagonals. This function keeps them once and computes the others again. That halves
    the memory of training, and copies less.
    """

    @staticmethod
    def forward(
        ctx: Any,
        content_query: Tensor,
        position_query: Tensor,
        key: Tensor,
        value: Tensor,
        position_keys: Tensor,
        position_values: Tensor,
        hidden_keys: Tensor | None,
        kept: Tensor | None,
        scale: float,
    ) -> Tensor:
        weights = _weights(content_query, position_query, key, position_keys, hidden_keys)
        ctx.save_for_backward(content_query, position_query, key, value, position_keys, position_values, weights, kept)
        ctx.scale = scale
        dropped = weights if kept is None else (weights * kept).mul_(scale)
        return dropped @ value + columns_to_diagonals(dropped) @ position_values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        content_query, position_query, key, value, position_keys, position_values, weights, kept = ctx.saved_tensors
        dropped = weights if kept is None else (weights * kept).mul_(ctx.scale)
        flat = gradient.flatten(0, 2)
        grad_value = dropped.transpose(2, 3) @ gradient
        grad_position_values = columns_to_diagonals(dropped).flatten(0, 2).T @ flat
        grad_weights = gradient @ value.transpose(2, 3)
        grad_weights += diagonals_to_columns(gradient @ position_values.T, key.shape[2])
        if kept is not None:
            grad_weights.mul_(kept).mul_(ctx.scale)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, 3, weights.dtype)
        band = columns_to_diagonals(grad_scores)
        grad_position_keys = band.flatten(0, 2).T @ position_query.flatten(0, 2)
        grad_key = grad_scores.transpose(2, 3) @ content_query
        grad_content_query, grad_position_query = grad_scores @ key, band @ position_keys
        grads = (
            grad_content_query,
            grad_position_query,
            grad_key,
            grad_value,
            grad_position_keys,
            grad_position_values,
        )
        return (*grads, None, None, None)


def diagonals_to_columns(band: Tensor, time: int) -> Tensor:
    """Read (..., Q, T + Q) so that out[i, j] = band[i, j - i + Q]. Shape (..., Q, T). A view, no copy."""
    queries, width = band.shape[-2:]
    return band.flatten(-2)[..., queries:].unflatten(-1, (queries, width - 1))[..., :time]


def columns_to_diagonals(weights: Tensor) -> Tensor:
    """Write (..., Q, T) so that out[i, j - i + Q] = weights[i, j], and zero elsewhere. Shape (..., Q, T + Q)."""
    queries, time = weights.shape[-2:]
    if not weights.requires_grad and not torch.compiler.is_exporting():
        band = weights.new_zeros(*weights.shape[:-1], time + queries)
        diagonals_to_columns(band, time).copy_(weights)  # writes through the view, without a second copy
        return band
    shifted = F.pad(weights, (0, queries - 1)).flatten(-2)
    return F.pad(shifted, (queries, 0)).unflatten(-1, (queries, time + queries))


class RelativeBlock(nn.Module):
    """Pre-norm transformer block with relative attention.

    The feed-forward part has a norm of its own after the norm of the block, as in the official weights.

    Args:
        dim: Width of a token.
        hidden: Width of the feed-forward part.
        heads: Number of attention heads.
        reach: Largest number of tokens.
        dropout: Dropout rate after the activation, after the feed-forward part, and of the attention probabilities.
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

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> Tensor:
        """Transform tokens (B, T, dim). Same shape out. `padding` (B, T) is True at padding; None: all are valid."""
        tokens = tokens + self.attention(self.norm1(tokens), padding)
        return tokens + self.feed_forward(self.norm2(tokens))
