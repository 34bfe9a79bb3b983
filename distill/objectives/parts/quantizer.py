"""Vector quantizer with a learned codebook (Gumbel softmax, Jang et al. 2017)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.losses.host_value import HostValue
from distill.objectives.parts.masking import rows_where
from distill.objectives.parts.observed import Observed, observe

START_TEMPERATURE, MIN_TEMPERATURE, TEMPERATURE_DECAY = 2.0, 0.5, 0.999995  # HEAR's values; decay of a step


class Quantized(NamedTuple):
    """Quantized tokens of a batch.

    Args:
        vectors: Projected code vector of each token. Shape (batch, time, out).
        codes: Index of the chosen code of each token, int64. Shape (batch, time).
        diversity: Squared distance between the mean softmax over valid tokens, without noise, and the uniform
            distribution. A scalar.
    """

    vectors: Tensor
    codes: Tensor
    diversity: Tensor


class GumbelQuantizer(nn.Module):
    """Quantizer that chooses the code with the highest score, with Gumbel noise in training.

    Gradients flow through the softmax over all codes.

    Args:
        codes: Number of codes.
        code_dim: Size of a code vector.
        out: Size of a projected code vector.
    """

    temperature: Tensor

    def __init__(self, codes: int, code_dim: int, out: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, code_dim))
        self.project = nn.Linear(code_dim, out)
        self.register_buffer(
            "temperature", torch.tensor(START_TEMPERATURE)
        )  # a buffer, so that a resumed run continues with it

    def forward(self, logits: Tensor, valid: Tensor, noise: Tensor | None = None) -> Quantized:
        """Return the quantized tokens.

        Args:
            logits: Score of each code. Shape (batch, time, codes).
            valid: True where a token is valid. Shape (batch, time), bool, on the CPU.
            noise: Gumbel noise of the logits' shape. None: drawn in training, none in evaluation.
        """
        if noise is None and self.training:
            noise = -torch.empty_like(logits).exponential_().log()
        noisy = logits if noise is None else logits + noise
        index = noisy.argmax(2)
        # The value is the chosen code; the gradient is that of the mean of all codes under the softmax. No tensor of
        # shape (tokens, codes, code_dim) is created.
        soft = (noisy / self.temperature).softmax(2) @ self.codebook.detach()
        vectors = self.project(F.embedding(index, self.codebook) + soft - soft.detach())
        mean = logits.flatten(0, 1)[rows_where(valid, logits.device)].softmax(1).mean(0)
        return Quantized(vectors, index, (mean - 1 / len(self.codebook)).square().sum())

    def cool(self, steps: int) -> None:
        """Set the temperature after this number of optimizer steps."""
        self.temperature.fill_(max(MIN_TEMPERATURE, START_TEMPERATURE * TEMPERATURE_DECAY**steps))


class CodeUse(nn.Module):
    """Running counts of the chosen codes, with a warning if the codebook collapses.

    Args:
        codes: Number of codes.
    """

    counts: Tensor
    shared_statistics = ("counts",)
    _count_decay = 0.99  # for each batch
    _min_used_share = 0.02  # a lower share of codes in use is a collapse
    _check_after = 200  # batches

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("batches", torch.tensor(0))
        self.batches: Tensor
        self._known_batches = HostValue()

    @torch.no_grad()
    def forward(self, index: Tensor) -> dict[str, Observed]:
        """Count the chosen codes (tokens,), int64; return the perplexity, codes in use and share of unused codes."""
        if self.training:
            ones = torch.ones_like(index, dtype=self.counts.dtype)
            self.counts.mul_(self._count_decay).index_add_(0, index, ones)
            self._known_batches.set(self.batches, self._known_batches.get(self.batches) + 1)
            if self._known_batches.get(self.batches) == self._check_after:
                self._check()
        shares, used = self.counts / self.counts.sum().clamp(min=1), (self.counts > 0.5).sum()
        return {
            "perplexity": observe(float, torch.special.entr(shares).sum().exp()),
            "used_codes": observe(float, used),
            "dead_share": observe(lambda number: 1 - float(number) / len(self.counts), used),
        }

    def _check(self) -> None:
        """Warn if the codebook collapses."""
        used = int((self.counts > 0.5).sum())
        if used < max(2, self._min_used_share * len(self.counts)):
            warnings.warn(
                f"the codebook collapses: {used} of {len(self.counts)} codes are in use after {self._check_after} "
                "batches. Try a higher --objective.weights diversity, a lower learning rate, or larger batches",
                stacklevel=2,
            )
