"""The vision transformer of several teachers, against its blocks in sequence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.errors import UserError
from distill.teachers.transformer import PatchEmbedding, VisionBlock, VisionTransformer, flatten, frames_of


def official_state(dim: int, hidden: int, depth: int) -> dict[str, Tensor]:
    """Return random tensors by timm's keys."""
    blocks = nn.ModuleList(VisionBlock(dim, 1, hidden, 1e-6) for _ in range(depth))
    state = {f"blocks.{key}": torch.randn_like(tensor) for key, tensor in blocks.state_dict().items()}
    return state | {"norm.weight": torch.randn(dim), "norm.bias": torch.randn(dim)}


def test_depth_and_widths_are_those_of_the_tensors() -> None:
    network = VisionTransformer(official_state(128, 96, 3))
    assert len(network.blocks) == 3
    assert network.blocks[0].mlp.fc1.weight.shape == (96, 128)
    assert network.blocks[0].attn.heads == 2  # one for each 64 of width


@pytest.mark.parametrize(("dim", "heads"), [(32, 0), (32, 5)])
def test_heads_that_do_not_fit_the_width_are_refused(dim: int, heads: int) -> None:
    with pytest.raises(UserError, match=f"must divide the width {dim}"):
        VisionTransformer(official_state(dim, 8, 1), heads)


def test_the_output_equals_pre_norm_blocks_and_a_norm() -> None:
    state = official_state(8, 16, 2)
    network = VisionTransformer(state, heads=2, epsilon=1e-3)
    network.load_state_dict(state)
    x = tokens = torch.randn(2, 5, 8)

    def norm(name: str) -> Tensor:
        return F.layer_norm(x, (8,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-3)

    for number, block in enumerate(network.blocks):
        x = x + block.attn(norm(f"blocks.{number}.norm1"))
        x = x + block.mlp(norm(f"blocks.{number}.norm2"))
    torch.testing.assert_close(network(tokens), norm("norm"), atol=1e-5, rtol=1e-4)


def test_patches_stay_in_float32_and_lie_row_by_row() -> None:
    embed, spectrogram = PatchEmbedding(3, (4, 2), (4, 2)), torch.randn(2, 8, 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grid = embed(spectrogram)
    assert (grid.dtype, grid.shape) == (torch.float32, (2, 3, 2, 5))
    tokens = flatten(grid)
    patch = spectrogram[1, 4:, 2:4]  # the second row of patches, the second column
    expected = (embed.proj.weight[:, 0] * patch).sum((1, 2)) + embed.proj.bias
    torch.testing.assert_close(tokens[1, 5 + 1], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(frames_of(tokens, 2), grid.mean(2).transpose(1, 2), atol=1e-6, rtol=1e-5)
