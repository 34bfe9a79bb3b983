"""Patch embeddings: the order of tokens, and hidden patches."""

from __future__ import annotations

import pytest
import torch

from distill.data.errors import UserError
from distill.students.patch_transformer.patches import MultiResolution, PatchConvolution


def test_a_token_depends_on_its_own_patch_and_columns_come_one_after_another() -> None:
    embed, spectrogram = PatchConvolution(6), torch.randn(1, 64, 32)
    before = embed(spectrogram)
    assert before.shape == (1, 4 * 2, 6)
    spectrogram[0, 2 * 16 : 3 * 16, 16:] += 1  # third column, second row
    changed = (embed(spectrogram) != before).any(2)[0]
    assert changed.nonzero().flatten().tolist() == [2 * 2 + 1]


def test_hidden_patches_do_not_change_visible_tokens_of_several_resolutions() -> None:
    embed, spectrogram = MultiResolution(8, (4, 8, 16), (6, 6)), torch.randn(1, 64, 48)
    visible = torch.ones(1, 4, 3)
    visible[0, 1, 2] = 0
    other = spectrogram.clone()
    other[0, 16:32, 32:] = torch.randn(16, 16)
    shown = visible.flatten(1)[0] == 1
    assert embed(spectrogram, visible)[0, shown].equal(embed(other, visible)[0, shown])
    assert not embed(spectrogram)[0, shown].equal(embed(other)[0, shown])  # the kernels overlap


def test_one_resolution_is_a_convolution_and_a_norm() -> None:
    embed, spectrogram = MultiResolution(8, (16,), ()), torch.randn(2, 32, 16)
    stage, last = embed.patch_embed
    patches = spectrogram.unflatten(1, (2, 16)).flatten(2)  # one row: a patch is 16 spectra
    tokens = patches @ stage.proj.weight.flatten(1).T + stage.proj.bias
    torch.testing.assert_close(embed(spectrogram), last(stage.norm(tokens)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sides", [(), (4, 6, 16), (16, 16), (8, 4, 16)])
def test_sides_must_grow_as_multiples(sides: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"--student\.resolutions .*: must be growing multiples"):
        MultiResolution(8, sides, (4,) * max(0, len(sides) - 1))


def test_each_resolution_but_the_last_has_a_number_of_channels() -> None:
    with pytest.raises(UserError, match=r"--student\.channels \[4\]: must have 2 numbers"):
        MultiResolution(8, (4, 8, 16), (4,))
