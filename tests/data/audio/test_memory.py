"""When results may be written to preallocated memory."""

from __future__ import annotations

import torch

from distill.data.audio.memory import may_reuse_memory


def test_memory_is_reused_on_a_cpu_without_gradients() -> None:
    waveform = torch.zeros(1, 10)
    assert may_reuse_memory(waveform)
    assert not may_reuse_memory(waveform.clone().requires_grad_())
    assert not may_reuse_memory(waveform.to("meta"))


def test_an_exported_graph_has_its_own_memory() -> None:
    class Branch(torch.nn.Module):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return waveform + (1.0 if may_reuse_memory(waveform) else 2.0)

    program = torch.export.export(Branch(), (torch.zeros(1, 10),))
    assert program.module()(torch.zeros(1, 10)).equal(torch.full((1, 10), 2.0))
