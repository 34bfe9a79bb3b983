"""The codebook: which codes are chosen, and how often."""

from __future__ import annotations

import pytest
import torch

from distill.objectives.parts.quantizer import CodeUse


def test_the_codebooks_use_is_counted_and_a_collapse_is_said() -> None:
    use = CodeUse(64)
    for _ in range(50):
        observed = use(torch.arange(64))
    assert observed["perplexity"] == pytest.approx(64, rel=1e-3)
    assert observed["dead_share"] == 0
    use = CodeUse(64)
    for _ in range(199):
        use(torch.zeros(100, dtype=torch.int64))
    with pytest.warns(UserWarning, match="collapses: 1 of 64"):
        observed = use(torch.zeros(100, dtype=torch.int64))
    assert observed["perplexity"] == pytest.approx(1)
