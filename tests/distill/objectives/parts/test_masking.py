"""Masks over the tokens of a clip and over the patches of a spectrogram."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from distill.objectives.parts.masking import GridMask, block_mask, draw_mask, official_mask, visible_patches
from tests.conftest import GOLDEN
from tests.students.patch_transformer.test_student import golden


def test_blocks_around_the_official_centres_equal_the_official_ones() -> None:
    expected = golden("eat", "outputs")
    hidden_before = expected["mask_official_seed1234_before_adjust"].bool()
    assert (~block_mask(expected["mask_official_seed1234_centres"], 64, 8, 5)).equal(hidden_before)


@pytest.mark.parametrize(("name", "share", "adjust"), [("official_base", 0.8, 0.07), ("official_large", 0.75, 0.10)])
def test_masks_have_the_official_statistics(name: str, share: float, adjust: float) -> None:
    expected = json.loads((GOLDEN / "eat" / "mask_stats.json").read_text())[name]
    torch.manual_seed(0)
    mask = GridMask(share=share, adjust=adjust)
    visible = ~mask.draw(4000, 64, 8)
    assert set(visible.sum(1).tolist()) == {expected["visible_target"]}
    by_row = visible.unflatten(1, (64, 8)).float().mean((0, 1))
    np.testing.assert_allclose(by_row, expected["visible_prob_per_freq_index"], atol=0.006)
    by_column = visible.unflatten(1, (64, 8)).float().mean((0, 2))
    np.testing.assert_allclose(by_column[:4], expected["visible_prob_first4_time_index"], atol=0.012)
    before = mask._blocks(4000, 64, 8).sum(1).float()
    assert float(before.mean()) == pytest.approx(expected["visible_before_adjust"]["mean"], abs=0.8)
    assert float(before.std()) == pytest.approx(expected["visible_before_adjust"]["std"], abs=0.6)


@pytest.mark.parametrize("kind", ["random", "time", "frequency", "inverse_blocks"])
def test_every_mask_hides_equal_numbers_of_patches_and_follows_the_seed(kind: str) -> None:
    mask = GridMask(kind, share=0.6, block=3)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(mask.draw(20, 10, 8))
    assert drawn[0].equal(drawn[1])
    assert len(set(drawn[0].sum(1).tolist())) == 1
    assert float(drawn[0].float().mean()) == pytest.approx(0.6, abs=0.05)
    assert len({tuple(row) for row in drawn[0].int().tolist()}) > 3
    visible = visible_patches(drawn[0])
    assert not drawn[0].gather(1, visible).any()


@pytest.mark.parametrize("kind", ["random", "spans", "inverse_blocks"])
def test_masks_hide_their_share_of_valid_tokens(kind: str) -> None:
    lengths = torch.tensor([3000, 1000])
    mask = torch.stack([draw_mask(kind, lengths, 3000, 0.4, span=8) for _ in range(20)])
    assert float(mask[:, 0].float().mean()) == pytest.approx(0.4, abs=0.03)
    assert not mask[:, 1, 1000:].any()
    edges = (mask[:, 0, 1:] != mask[:, 0, :-1]).float().mean()
    assert (float(edges) > 0.4) == (kind == "random")  # runs have few edges


def test_the_official_mask_hides_more_than_its_share_and_padding_too() -> None:
    lengths = torch.tensor([4000, 1500])
    noise = torch.randn(2, 4000)
    wrong, right = official_mask(noise, lengths, 0.4), draw_mask("random", lengths, 4000, 0.4)
    assert float(wrong[0].float().mean()) == pytest.approx(0.655, abs=0.03)
    assert float(right[0].float().mean()) == pytest.approx(0.4, abs=0.03)
    assert wrong[1, 1500:].any()
    assert not right[1, 1500:].any()
