"""A codebook that is learned by choosing from it (Gumbel softmax, Jang et al. 2017)."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START_TEMPERATURE, LOWEST_TEMPERATURE, DECAY = 2.0, 0.5, 0.999995  # HEAR's


class Quantized(NamedTuple):
    """What became of the tokens of a batch.

    Args:
        vectors: The projected code of each token. Shape (batch, time, out).
        codes: Number of the code that was chosen, int64. Shape (batch, time).
        diversity: Squared distance of the mean choice from an even one, without noise; a scalar.
    """

    vectors: Tensor
    codes: Tensor
    diversity: Tensor


class GumbelQuantizer(nn.Module):
    """Chooses the code with the highest score, after noise in training; gradients go through the soft choice.

    Args:
        codes: Number of codes.
        code_dim: Numbers in a code.
        out: Width that codes are projected to.
    """

    temperature: Tensor

    def __init__(self, codes: int, code_dim: int, out: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.randn(codes, code_dim))
        self.project = nn.Linear(code_dim, out)
        self.register_buffer("temperature", torch.tensor(START_TEMPERATURE))  # saved: a resumed run goes on from it

    def forward(self, logits: Tensor, inside: Tensor, noise: Tensor | None = None) -> Quantized:
        """Quantise.

        Args:
            logits: Score of each code. Shape (batch, time, codes).
            inside: True where a token is valid. Shape (batch, time), bool.
            noise: Gumbel noise of the logits' shape; by default drawn in training, and none in evaluation.
        """
        if noise is None and self.training:
            noise = -torch.empty_like(logits).exponential_().log()
        noisy = logits if noise is None else logits + noise
        index = noisy.argmax(2)
        # The value is the code itself, its gradient that of the mean of all codes under the soft choice. Nothing of
        # shape (tokens, codes, code_dim) is made.
        soft = (noisy / self.temperature).softmax(2) @ self.codebook.detach()
        vectors = self.project(F.embedding(index, self.codebook) + soft - soft.detach())
        mean = logits[inside].softmax(1).mean(0)
        return Quantized(vectors, index, (mean - 1 / len(self.codebook)).square().sum())

    def cool(self, steps: int) -> None:
        """Set the temperature of a run that has done so many steps."""
        self.temperature.fill_(max(LOWEST_TEMPERATURE, START_TEMPERATURE * DECAY**steps))


class CodeUse(nn.Module):
    """Counts which codes are chosen, and warns when the codebook collapses.

    Args:
        codes: Number of codes.
    """

    counts: Tensor
    _memory = 0.99  # of the counts, from batch to batch
    _alarm = 0.02  # share of codes in use
    _patience = 200  # batches

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(codes))
        self.register_buffer("batches", torch.tensor(0))
        self.batches: Tensor

    @torch.no_grad()
    def forward(self, index: Tensor) -> dict[str, float]:
        """Add the codes chosen (tokens,), int64; perplexity, codes in use and share of dead ones."""
        if self.training:
            self.counts.mul_(self._memory).add_(torch.bincount(index, minlength=len(self.counts)))
            self.batches += 1
        shares = self.counts / self.counts.sum().clamp(min=1)
        perplexity = float(torch.special.entr(shares).sum().exp())
        used = int((self.counts > 0.5).sum())
        if self.training and int(self.batches) == self._patience and used < max(2, self._alarm * len(self.counts)):
            warnings.warn(
                f"the codebook collapses: {used} of {len(self.counts)} codes are in use after {self._patience} "
                "batches. Try a higher --objective.weights diversity, a lower learning rate, or larger batches",
                stacklevel=2,
            )
        return {"perplexity": perplexity, "used_codes": float(used), "dead_share": 1 - used / len(self.counts)}
