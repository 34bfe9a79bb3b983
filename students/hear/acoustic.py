"""HEAR's acoustic model: 20 ms frames of any length of audio, through windows that overlap."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.errors import UserError
from distill.students.hear.frontend import BANDS
from distill.students.hear.transformer import Block

_AT_ONCE = 16  # windows in a batch: memory is bounded by them
_LEAST_WEIGHT = 1e-3  # at the ends of a window, which may be all that a frame has


class AcousticModel(nn.Module):
    """Pairs of mel frames, then transformer blocks over windows of `window` tokens.

    Args:
        hidden: Width of a token.
        intermediate: Width of the feed-forward parts.
        heads: Of attention.
        layers: Number of blocks.
        window: Tokens that attention sees at once.
        overlap: Tokens that two windows of a longer clip share; there they are blended.
        dropout: In the blocks.
        one_window: Whether nothing longer than a window is ever given, which an exported graph cannot know.

    Raises:
        UserError: heads do not divide the width, or windows that overlap by half or more.
    """

    taper: Tensor

    def __init__(
        self,
        hidden: int,
        intermediate: int,
        heads: int,
        layers: int,
        window: int,
        overlap: int,
        dropout: float,
        one_window: bool = False,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise UserError(f"--student.hidden {hidden} cannot be shared by --student.heads {heads}")
        if not 0 < overlap <= window // 2:
            raise UserError(f"--student.overlap {overlap}: from 1 to half of the window, {window // 2}, is wanted")
        self.window, self.overlap, self.one_window = window, overlap, one_window
        self.conv = nn.Conv1d(BANDS, hidden, kernel_size=2, stride=2)
        self.layers = nn.ModuleList(Block(hidden, intermediate, heads, window, dropout) for _ in range(layers))
        rise = (0.5 - 0.5 * torch.cos(torch.pi * torch.linspace(0, 1, overlap))).clamp(min=_LEAST_WEIGHT)
        taper = torch.cat([rise, torch.ones(window - 2 * overlap), rise.flip(0)])
        self.register_buffer("taper", taper, persistent=False)

    def features(self, mel: Tensor) -> Tensor:
        """Normalised mel (batch, 128, frames) -> what the blocks see (batch, frames // 2, hidden)."""
        return self.conv(mel).relu().transpose(1, 2)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Tokens in their context.

        Args:
            features: Shape (batch, time, hidden).
            lengths: Valid tokens of each clip, int64. Shape (batch,).

        Returns:
            Shape (batch, time, hidden); what stands after the end of a clip means nothing.
        """
        if torch.compiler.is_exporting() and not self.one_window:
            return self._in_whole_windows(features, lengths)
        if self.one_window or features.shape[1] <= self.window:
            return self.blocks(features, lengths)
        return self._in_windows(features, lengths)

    def blocks(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """All blocks over (batch, time, hidden), time no longer than a window."""
        inside = frame_mask(lengths, tokens.shape[1])
        whole = not torch.compiler.is_exporting() and bool(inside.all())
        for layer in self.layers:
            tokens = layer(tokens, None if whole else ~inside)
        return tokens

    def _in_whole_windows(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The same for a graph that takes any length: each clip in as many windows as the longest, and no branches."""
        clips, time = features.shape[:2]
        step = self.window - self.overlap
        count = cast(int, torch.sym_max(1, (time - self.overlap + step - 1) // step))
        steps = F.pad(features, (0, 0, 0, (count + 1) * step - time)).unflatten(1, (count + 1, step))
        windows = torch.cat([steps[:, :-1], steps[:, 1:, : self.overlap]], dim=2)
        valid = (lengths.unsqueeze(1) - torch.arange(count, device=lengths.device) * step).clamp(0, self.window)
        # A window that holds nothing new is encoded all the same; its weight is zero.
        first = torch.arange(count, device=lengths.device) == 0
        used = (first | (valid > self.overlap)).to(features.dtype).unsqueeze(2)
        encoded = self.blocks(windows.flatten(0, 1), valid.flatten().clamp(min=1)).unflatten(0, (clips, count))
        weights = self.taper.to(features.dtype) * used
        sums = _overlapped(encoded * weights.unsqueeze(3), step)
        return (sums / _overlapped(weights.unsqueeze(3), step).clamp(min=1e-8))[:, :time]

    def _in_windows(self, features: Tensor, lengths: Tensor) -> Tensor:
        """The windows of all clips, blended where they overlap; those of equal length are encoded together."""
        groups: dict[int, list[tuple[int, int]]] = {}
        for clip, length in enumerate(lengths.tolist()):
            for start in range(0, features.shape[1], self.window - self.overlap):
                if start == 0 or length > start + self.overlap:
                    groups.setdefault(min(self.window, max(1, length - start)), []).append((clip, start))
        sums, weights = torch.zeros_like(features), features.new_zeros(*features.shape[:2], 1)
        for size, places in groups.items():
            taper = self.taper[:size].to(features.dtype).unsqueeze(1)
            for first in range(0, len(places), _AT_ONCE):
                part = places[first : first + _AT_ONCE]
                tokens = torch.stack([features[clip, start : start + size] for clip, start in part])
                encoded = self.blocks(tokens, lengths.new_full((len(part),), size))
                for (clip, start), window in zip(part, encoded, strict=True):
                    sums[clip, start : start + size] += window * taper
                    weights[clip, start : start + size] += taper
        return sums / weights.clamp(min=1e-8)


def _overlapped(windows: Tensor, step: int) -> Tensor:
    """The sum of windows (clips, count, window, dim) that begin every `step`: (clips, (count + 1) * step, dim)."""
    beginnings, ends = windows[:, :, :step], windows[:, :, step:]
    ends = F.pad(ends, (0, 0, 0, step - ends.shape[2]))
    return F.pad(beginnings.flatten(1, 2), (0, 0, 0, step)) + F.pad(ends.flatten(1, 2), (0, 0, step, 0))
