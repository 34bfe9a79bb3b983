"""Which tokens of a clip are hidden. All masks are True where a token is hidden.

`draw_mask` keeps to each clip's length. Grids of patches are those of the batch's longest clip, as in EAT's code: what
pads a shorter one is hidden, predicted and scored like any patch, so crops of one length are wanted there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask
from distill.data.errors import UserError

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
    inside = frame_mask(lengths, time)
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
    padding = ~frame_mask(lengths, noise.shape[1])
    return noise + padding.to(noise.dtype) < share


GRID_KINDS = ("inverse_blocks", "random", "time", "frequency")


@dataclass(frozen=True)
class GridMask:
    """How patches of a spectrogram are hidden. Every mask of a batch hides as many, so that the rest is a tensor.

    Args:
        kind: "inverse_blocks": square blocks stay visible, trimmed or filled up at random (EAT, section 3.3);
            "random": each patch on its own; "time" or "frequency": one run of columns or rows is hidden.
        share: Of the patches that is hidden.
        adjust: Blocks are drawn for so much more than what shall be visible, since they overlap.
        block: Side of a block, in patches.

    Raises:
        ValueError: an unknown kind, or a share that hides nothing or everything.
    """

    kind: str = "inverse_blocks"
    share: float = 0.8
    adjust: float = 0.07
    block: int = 5

    def __post_init__(self) -> None:
        if self.kind not in GRID_KINDS:
            raise ValueError(f"mask.kind {self.kind!r}: one of {', '.join(GRID_KINDS)} is wanted")
        if not 0 < self.share < 1 or self.block < 1 or self.adjust < 0:
            raise ValueError(f"mask: share {self.share} must lie between 0 and 1, block {self.block} be at least 1")

    def draw(self, masks: int, columns: int, rows: int, device: torch.device) -> Tensor:
        """Masks over patches that go row by row through each column; True is hidden. Shape (masks, columns * rows).

        Raises:
            UserError: so few patches that none would be visible, or none hidden.
        """
        patches = columns * rows
        if self.kind in ("time", "frequency"):
            hidden = self._run(masks, columns if self.kind == "time" else rows, device)
            grid = hidden.unsqueeze(2) if self.kind == "time" else hidden.unsqueeze(1)
            return grid.expand(masks, columns, rows).flatten(1)
        visible = int(patches * (1 - self.share) + 1e-9)
        if not 0 < visible < patches:
            raise UserError(f"a mask that hides {self.share:g} of {patches} patches leaves {visible} of them visible")
        chance = torch.rand(masks, patches, device=device)
        if self.kind == "inverse_blocks":
            # Whatever lies in a block comes before what does not; in random order both.
            chance = chance + self._blocks(masks, columns, rows, device)
        hidden = torch.ones(masks, patches, dtype=torch.bool, device=device)
        return hidden.scatter_(1, chance.topk(visible, dim=1).indices, False)

    def _blocks(self, masks: int, columns: int, rows: int, device: torch.device) -> Tensor:
        """True in the blocks around drawn patches; at the border blocks are cut. Shape (masks, columns * rows)."""
        count = max(1, int(columns * rows * (1 - self.share + self.adjust) / self.block**2))
        centres = torch.randint(columns * rows, (masks, count), device=device)
        return covered(centres, columns, rows, self.block)

    def _run(self, masks: int, length: int, device: torch.device) -> Tensor:
        """One run of `length` places, going on at the beginning where it passes the end. Shape (masks, length)."""
        hidden = round(length * self.share)
        if not 0 < hidden < length:
            raise UserError(f"a run of {self.share:g} of {length} {self.kind} steps hides {hidden} of them")
        starts = torch.randint(length, (masks, 1), device=device)
        return (torch.arange(length, device=device) - starts) % length < hidden


def covered(centres: Tensor, columns: int, rows: int, block: int) -> Tensor:
    """Which patches lie in a square around one of the centres (masks, count). Shape (masks, columns * rows), bool."""
    before, after = block // 2, (block - 1) // 2
    column, row = (centres // rows).unsqueeze(2), (centres % rows).unsqueeze(2)
    times = torch.arange(columns, device=centres.device)
    bands = torch.arange(rows, device=centres.device)
    in_time = (times >= column - before) & (times <= column + after)
    in_frequency = (bands >= row - before) & (bands <= row + after)
    return (in_time.unsqueeze(3) & in_frequency.unsqueeze(2)).any(1).flatten(1)
