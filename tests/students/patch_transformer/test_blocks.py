"""Blocks that also return the output of their feed-forward part, and fixed positions."""

from __future__ import annotations

import math

import pytest
import torch

from distill.students.patch_transformer.blocks import PostNormBlock, PreNormBlock, positions


@pytest.mark.parametrize("kind", [PostNormBlock, PreNormBlock])
def test_padding_changes_no_valid_token(kind: type[PostNormBlock | PreNormBlock]) -> None:
    block = kind(8, 2, 4.0, 0.0).eval()
    tokens, valid = torch.randn(1, 6, 8), torch.tensor([[True] * 4 + [False] * 2])
    together, alone = block(tokens, valid), block(tokens[:, :4], None)
    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(found[:, :4], expected, atol=1e-5, rtol=1e-4)


def test_the_branch_is_the_output_of_the_feed_forward_part_before_it_is_added() -> None:
    tokens = torch.randn(2, 5, 8)
    post, pre = PostNormBlock(8, 2, 4.0, 0.0).eval(), PreNormBlock(8, 2, 4.0, 0.0).eval()
    first = post.norm1(tokens + post.attn(tokens))
    out, branch = post(tokens, None)
    torch.testing.assert_close(branch, post.mlp(first))
    torch.testing.assert_close(out, post.norm2(first + branch))
    second = tokens + pre.attn(pre.norm1(tokens))
    out, branch = pre(tokens, None)
    torch.testing.assert_close(branch, pre.mlp(pre.norm2(second)))
    torch.testing.assert_close(out, second + branch)


def test_a_branch_is_dropped_for_whole_clips_and_keeps_its_mean() -> None:
    block, branch = PreNormBlock(8, 2, 4.0, 0.25).train(), torch.ones(20_000, 2, 3)
    dropped = block.drop_branch(branch)
    by_clip = dropped.flatten(1)
    assert (by_clip == by_clip[:, :1]).all()
    assert by_clip.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert block.eval().drop_branch(branch) is branch


def test_positions_are_sines_and_cosines_of_row_then_column() -> None:
    table = positions(columns=3, rows=2, dim=8)
    for column in range(3):
        for row in range(2):
            angles = [[place / 10_000 ** (channel / 2) for channel in range(2)] for place in (row, column)]
            expected = [function(angle) for part in angles for function in (math.sin, math.cos) for angle in part]
            assert table[2 * column + row].tolist() == pytest.approx(expected, abs=1e-6)
