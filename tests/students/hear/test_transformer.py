"""HEAR's block against the official code, and its attention against the slow formula."""

from __future__ import annotations

import pytest
import torch

from distill.students.hear.classifier import HearClassifier
from distill.students.hear.transformer import RelativeAttention, columns_to_diagonals, diagonals_to_columns
from tests.students.hear.golden import (
    assert_close,
    inputs,
)


def test_attention_and_block(classifier: HearClassifier) -> None:
    block, outside = classifier.acoustic.layers[0], ~inputs()["attn.mask"]
    assert_close(block.attention(inputs()["attn.x"], outside), "attn.out", atol=1e-5)
    assert_close(block(inputs()["attn.x"], outside), "block.out", atol=1e-5)


@pytest.mark.parametrize("queries", [1, 3, 7])
def test_diagonals(queries: int) -> None:
    time = 7
    band = torch.randn(2, queries, time + queries)
    columns = diagonals_to_columns(band, time)
    for i in range(queries):
        for j in range(time):
            assert columns[:, i, j].equal(band[:, i, j - i + queries])
    back = columns_to_diagonals(columns)
    expected = torch.zeros_like(band)
    for i in range(queries):
        expected[:, i, queries - i : queries - i + time] = columns[:, i]
    assert back.equal(expected)


@pytest.mark.parametrize("time", [1, 7, 250])
def test_attention_equals_the_slow_formula(time: int) -> None:
    attention = RelativeAttention(8, 2, reach=260, dropout=0.0)
    torch.nn.init.normal_(attention.content_bias)
    torch.nn.init.normal_(attention.position_bias)
    tokens = torch.randn(2, time, 8)
    outside = torch.arange(time) >= torch.tensor([[time], [max(1, time - 3)]])
    query, key, value = attention.qkv(tokens).chunk(3, dim=2)
    distance = torch.arange(time) - torch.arange(time).unsqueeze(1) + 260
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        scores = (query[..., part] + attention.content_bias[head]) @ key[..., part].transpose(1, 2)
        positions = attention.position_keys[distance]
        scores = scores + torch.einsum("bid,ijd->bij", query[..., part] + attention.position_bias[head], positions)
        weights = (scores / 2).masked_fill(outside.unsqueeze(1), -1e30).softmax(2)
        heads.append(
            weights @ value[..., part] + torch.einsum("bij,ijd->bid", weights, attention.position_values[distance])
        )
    expected = attention.out(torch.cat(heads, dim=2))
    torch.testing.assert_close(attention(tokens, outside), expected, atol=1e-5, rtol=1e-4)
    slow = torch.autograd.grad(expected.square().sum(), attention.position_keys, retain_graph=True)[0]
    fast = torch.autograd.grad(attention(tokens, outside).square().sum(), attention.position_keys)[0]
    torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_the_explicit_gradient_equals_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = RelativeAttention(8, 2, reach=150, dropout=0.3).double().train()
    for bias in (attention.content_bias, attention.position_bias):
        torch.nn.init.normal_(bias)
    tokens = torch.randn(2, 130, 8, dtype=torch.float64, requires_grad=True)
    outside = torch.arange(130) >= torch.tensor([[130], [90]])
    results = []
    for explicit in (True, False):
        torch.manual_seed(5)
        monkeypatch.setattr(torch, "is_autocast_enabled", lambda device, plain=not explicit: plain)
        out = attention(tokens, outside)
        results.append([out, *torch.autograd.grad(out.square().sum(), [tokens, *attention.parameters()])])
    for ours, autograds in zip(*results, strict=True):
        torch.testing.assert_close(ours, autograds, atol=1e-9, rtol=1e-7)
