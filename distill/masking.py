"""Which tokens of a clip are hidden. All masks are True where a token is hidden, and never beyond a clip's end."""

from __future__ import annotations

import torch
from torch import Tensor

KINDS = ("random", "spans", "inverse_blocks")


def draw_mask(kind: str, lengths: Tensor, time: int, share: float, span: int = 10) -> Tensor:
    """Draw a mask.

    Args:
        kind: "random": each token on its own; "spans": runs of `span` tokens; "inverse_blocks": all but runs of
            `span` tokens (in the manner of data2vec 2.0 and EAT).
        lengths: Valid tokens of each clip. Shape (batch,).
        time: Tokens of a row.
        share: Of the valid tokens that is hidden, on average.
        span: Length of a run.

    Returns:
        Shape (batch, time), bool.
    """
    device = lengths.device
    inside = torch.arange(time, device=device) < lengths.unsqueeze(1)
    if kind == "random":
        return (torch.rand(len(lengths), time, device=device) < share) & inside
    hidden = share if kind == "spans" else 1 - share
    # A token is outside all runs if none began at it or at the span - 1 tokens before it.
    begins = 1 - (1 - hidden) ** (1 / span)
    drawn = torch.rand(len(lengths), time + span - 1, device=device) < begins
    covered = drawn.unfold(1, span, 1).any(2)
    return (covered if kind == "spans" else ~covered) & inside


def official_mask(noise: Tensor, lengths: Tensor, share: float) -> Tensor:
    """HEAR's published draw: normal noise below `share`, which is 65.5 % at 0.4, and padding among it.

    Args:
        noise: Standard normal. Shape (batch, time).
        lengths: Tokens that the published code takes for valid. Shape (batch,).
        share: The published 0.4.
    """
    padding = torch.arange(noise.shape[1], device=noise.device) >= lengths.unsqueeze(1)
    return noise + padding.to(noise.dtype) < share
