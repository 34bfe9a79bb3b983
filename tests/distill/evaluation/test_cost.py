"""The cost of an encoder, against encoders of known cost."""

from __future__ import annotations

import torch

import distill
from distill.data.encoders.encoder import Encoder
from distill.evaluation.cost import cost_of


class Multiplication(distill.Teacher):
    """One matrix product on a clip, of known cost."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Linear(8_000, 16, bias=False)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        waveform = torch.nn.functional.pad(batch.waveform, (0, 16_000))[:, :8_000]
        return distill.Embeddings.of_clip(self.network(waveform))


class Attention(distill.Teacher):
    """Multi-head attention over 100 tokens of 32 numbers."""

    sample_rate = 8_000

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        return distill.Embeddings.of_clip(self.network(batch.waveform[:, :3_200].unflatten(1, (100, 32))).mean(1))


def test_operations_of_fused_attention_are_counted_too() -> None:
    projections, products, forward = 4 * 32 * 32, 2 * 100 * 32, 2 * 32 * 64
    assert cost_of(Attention(), 1.0).flops == 2 * 100 * (projections + products + forward)
    assert torch.backends.mha.get_fastpath_enabled()


def test_operations_are_counted_as_operations() -> None:
    encoder: Encoder = Multiplication()
    cost = cost_of(encoder, 1.0)
    assert cost.flops == 2 * 8_000 * 16
    assert cost.parameters == 8_000 * 16
    assert 24_000 * 4 <= cost.memory < 60_000 * 4
    assert cost.latency > 0
