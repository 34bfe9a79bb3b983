"""Attention and feed-forward of a transformer's block, against torch's own."""

from __future__ import annotations

import torch
from torch import nn

from distill.data.encoders.attention import Attention, FeedForward


def test_attention_equals_torchs_with_and_without_a_mask() -> None:
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {"in_proj_weight": ours.qkv.weight, "in_proj_bias": ours.qkv.bias,
         "out_proj.weight": ours.proj.weight, "out_proj.bias": ours.proj.bias}
    )  # fmt: skip
    tokens, inside = torch.randn(2, 5, 12), torch.tensor([[True] * 5, [True, True, False, True, False]])
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0], atol=1e-6, rtol=1e-5)
    masked = theirs(tokens, tokens, tokens, key_padding_mask=~inside)[0]
    torch.testing.assert_close(ours(tokens, inside), masked, atol=1e-6, rtol=1e-5)


def test_feed_forward_equals_its_layers_in_sequence() -> None:
    ours = FeedForward(6, 10)
    tokens = torch.randn(2, 3, 6)
    hidden = tokens @ ours.fc1.weight.T + ours.fc1.bias
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(ours(tokens), gelu @ ours.fc2.weight.T + ours.fc2.bias)
