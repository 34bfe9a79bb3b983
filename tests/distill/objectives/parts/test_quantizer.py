"""The codebook: which codes are chosen, and how often."""

from __future__ import annotations

import pytest
import torch

from distill.objectives.parts.quantizer import CodeUse, GumbelQuantizer


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


def test_the_temperature_is_saved_and_cools_to_a_half() -> None:
    quantizer, again = GumbelQuantizer(4, 2, 3), GumbelQuantizer(4, 2, 3)
    quantizer.cool(1000)
    again.load_state_dict(quantizer.state_dict())
    assert float(again.temperature) == pytest.approx(2.0 * 0.999995**1000)
    quantizer.cool(277_259)
    assert float(quantizer.temperature) == 0.5


def test_no_tensor_of_tokens_times_codes_times_dim() -> None:
    quantizer = GumbelQuantizer(1024, 32, 128)
    logits = torch.randn(1, 300, 1024, requires_grad=True)
    sizes: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
        quantizer(logits, torch.ones(1, 300, dtype=torch.bool)).vectors.sum().backward()
    assert max(sizes) <= 300 * 1024
