"""Random masks over the tokens of a clip. All masks are True where a token is hidden.

They are drawn on the CPU, so that every device gets the same masks and the host knows how much is hidden.
`draw_mask` hides only tokens inside each clip. Masks over patches ignore the lengths of the clips, as in EAT's code:
the padding of a shorter clip is hidden, predicted and scored like any patch. Use crops of equal length there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.data.audio.frames import frame_mask
from distill.data.errors import UserError

TOKEN_MASKS = ("random", "spans", "inverse_blocks")
PATCH_MASKS = ("inverse_blocks", "random", "time", "frequency")


def draw_mask(kind: str, lengths: Tensor, time: int, share: float, span: int = 10) -> Tensor:
    """Draw a mask over the tokens of each clip.

    Args:
        kind: "random" hides single tokens; "spans" hides runs of `span` tokens; "inverse_blocks" hides all tokens
            outside of runs of `span` tokens (as data2vec 2.0 and EAT do).
        lengths: Number of valid tokens of each clip. Shape (batch,).
        time: Number of tokens of each row, padding included.
        share: Share of the valid tokens that is hidden, on average.
        span: Length of a run, in tokens.

    Returns:
        Shape (batch, time), bool.
    """
    device = lengths.device
    valid = frame_mask(lengths, time)
    if kind == "random":
        return (torch.rand(len(lengths), time, device=device) < share) & valid
    share_in_runs = share if kind == "spans" else 1 - share
    # A token is outside all runs if no run starts at it or at one of the span - 1 tokens before it.
    start_probability = 1 - (1 - share_in_runs) ** (1 / span)
    is_start = torch.rand(len(lengths), time + span - 1, device=device) < start_probability
    in_run = is_start.unfold(1, span, 1).any(2)
    return (in_run if kind == "spans" else ~in_run) & valid


def official_mask(noise: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Return the mask of HEAR's published code: normal noise below `share`. It hides 65.5 % at 0.4, and padding too.

    Args:
        noise: Standard normal noise. Shape (batch, time).
        lengths: Number of tokens that the published code treats as valid. Shape (batch,).
        share: Threshold of the noise; 0.4 in the published code.

    Returns:
        Shape (batch, time), bool.
    """
    padding = ~frame_mask(lengths, noise.shape[1])
    return noise + padding.to(noise.dtype) < share


@dataclass(frozen=True)
class GridMask:
    """Settings of masks over the patches of a spectrogram.

    All masks of a batch hide the same number of patches, so the visible patches form a tensor.

    Args:
        kind: "inverse_blocks": square blocks stay visible, and random patches are added or removed to reach the share
            (EAT, section 3.3); "random": single patches are hidden; "time" or "frequency": one run of columns or rows
            is hidden.
        share: Share of the patches that is hidden, between 0 and 1.
        adjust: Share that is added to the visible share when the number of blocks is computed, as blocks overlap.
        block: Side of a block, in patches.

    Raises:
        ValueError: the kind is unknown, or a number is out of range.
    """

    kind: str = "inverse_blocks"
    share: float = 0.8
    adjust: float = 0.07
    block: int = 5

    def __post_init__(self) -> None:
        if self.kind not in PATCH_MASKS:
            raise ValueError(f"mask.kind {self.kind!r}: must be one of {', '.join(PATCH_MASKS)}")
        if not 0 < self.share < 1 or self.block < 1 or self.adjust < 0:
            raise ValueError(
                f"mask: share {self.share} must lie between 0 and 1, block {self.block} be at least 1, "
                f"adjust {self.adjust} be at least 0"
            )

    def draw(self, masks: int, columns: int, rows: int) -> Tensor:
        """Draw masks over patches, ordered by column, then by row. Shape (masks, columns * rows), True is hidden.

        Raises:
            UserError: there are too few patches: all or none of them would be hidden.
        """
        patches = columns * rows
        if self.kind in ("time", "frequency"):
            hidden = self._run(masks, columns if self.kind == "time" else rows)
            grid = hidden.unsqueeze(2) if self.kind == "time" else hidden.unsqueeze(1)
            return grid.expand(masks, columns, rows).flatten(1)
        visible = int(patches * (1 - self.share) + 1e-9)
        if not 0 < visible < patches:
            raise UserError(f"a mask that hides {self.share:g} of {patches} patches leaves {visible} of them visible")
        priority = torch.rand(masks, patches)
        if self.kind == "inverse_blocks":
            # Patches in a block come before all others, each group in random order.
            priority = priority + self._blocks(masks, columns, rows)
        hidden = torch.ones(masks, patches, dtype=torch.bool)
        return hidden.scatter_(1, priority.topk(visible, dim=1).indices, False)

    def _blocks(self, masks: int, columns: int, rows: int) -> Tensor:
        """Draw blocks, cut at the border; True inside of a block. Shape (masks, columns * rows), bool."""
        count = max(1, int(columns * rows * (1 - self.share + self.adjust) / self.block**2))
        centres = torch.randint(columns * rows, (masks, count))
        return block_mask(centres, columns, rows, self.block)

    def _run(self, masks: int, length: int) -> Tensor:
        """Draw a run of hidden steps in each mask, circular at the end. Shape (masks, length), bool."""
        hidden = round(length * self.share)
        if not 0 < hidden < length:
            raise UserError(f"a run of {self.share:g} of {length} {self.kind} steps hides {hidden} of them")
        starts = torch.randint(length, (masks, 1))
        return (torch.arange(length) - starts) % length < hidden


def block_mask(centres: Tensor, columns: int, rows: int, block: int) -> Tensor:
    """Return True at patches in a square around a centre. Shape (masks, columns * rows), bool.

    Args:
        centres: Indices of patches. Shape (masks, count), int64.
        columns: Columns of patches.
        rows: Rows of patches.
        block: Side of a square, in patches.
    """
    before, after = block // 2, (block - 1) // 2
    column, row = (centres // rows).unsqueeze(2), (centres % rows).unsqueeze(2)
    times = torch.arange(columns, device=centres.device)
    bands = torch.arange(rows, device=centres.device)
    in_time = (times >= column - before) & (times <= column + after)
    in_frequency = (bands >= row - before) & (bands <= row + after)
    return (in_time.unsqueeze(3) & in_frequency.unsqueeze(2)).any(1).flatten(1)


def rows_where(mask: Tensor, device: torch.device) -> Tensor:
    """Return the flat indices (rows,), int64, at which a mask is True, on a device.

    A mask on the CPU makes nothing wait for the device. An index by a mask on the device would.
    """
    return mask.flatten().nonzero()[:, 0].to(device, non_blocking=True)


def visible_patches(hidden: Tensor) -> Tensor:
    """Return the indices of the visible patches of each mask, ascending. (M, P), bool -> (M, V), int64.

    Every mask must hide the same number of patches.
    """
    return (~hidden).nonzero()[:, 1].view(len(hidden), -1)
