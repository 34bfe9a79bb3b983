"""HEAR's acoustic model: 20 ms frames of audio of any length, in overlapping windows."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distill.data.audio.frames import frame_mask
from distill.data.encoders.windows import groups_by_length
from distill.data.errors import UserError
from distill.students.hear.frontend import BANDS
from distill.students.hear.transformer import RelativeBlock

_BATCH_WINDOWS = 16  # windows that are encoded together; more need more memory
LEAST_WEIGHT = 1e-3  # at the ends of a window; above 0, since a frame can be in one window only


class AcousticSizes(NamedTuple):
    """Sizes of an acoustic model.

    Args:
        hidden: Width of a token.
        intermediate: Width of the feed-forward parts.
        heads: Number of attention heads.
        layers: Number of blocks.
        window: Number of tokens in an attention window.
    """

    hidden: int
    intermediate: int
    heads: int
    layers: int
    window: int


HEAR_SIZES = AcousticSizes(hidden=384, intermediate=1536, heads=4, layers=6, window=300)


class AcousticModel(nn.Module):
    """A convolution over pairs of mel frames, then transformer blocks over windows of tokens.

    Args:
        sizes: Sizes of the blocks and of the window.
        overlap: Number of tokens that two windows of a longer clip share. The two outputs are averaged by a taper.
        dropout: Dropout rate in the blocks.
        one_window: Whether no input is longer than a window. An exported graph cannot find this out.

    Raises:
        UserError: `heads` does not divide `hidden`, or `overlap` is more than half of the window.
    """

    taper: Tensor

    def __init__(self, sizes: AcousticSizes, overlap: int, dropout: float, one_window: bool = False) -> None:
        super().__init__()
        hidden, intermediate, heads, layers, window = sizes
        if hidden % heads:
            raise UserError(f"--student.hidden {hidden}: must be a multiple of --student.heads {heads}")
        if not 0 < overlap <= window // 2:
            raise UserError(f"--student.overlap {overlap}: must be from 1 to half of the window, {window // 2}")
        self.window, self.overlap, self.one_window = window, overlap, one_window
        self.conv = nn.Conv1d(BANDS, hidden, kernel_size=2, stride=2)
        self.layers = nn.ModuleList(RelativeBlock(hidden, intermediate, heads, window, dropout) for _ in range(layers))
        rise = (0.5 - 0.5 * torch.cos(torch.pi * torch.linspace(0, 1, overlap))).clamp(min=LEAST_WEIGHT)
        taper = torch.cat([rise, torch.ones(window - 2 * overlap), rise.flip(0)])
        self.register_buffer("taper", taper, persistent=False)

    def features(self, mel: Tensor) -> Tensor:
        """Convert standardised mel (batch, 128, frames) to the input of the blocks (batch, frames // 2, hidden)."""
        return self.conv(mel.to(self.conv.weight.dtype)).relu().transpose(1, 2)

    def forward(
        self, features: Tensor, lengths: Tensor, host_lengths: Tensor | None = None, encode_padding: bool = False
    ) -> Tensor:
        """Encode tokens of any length.

        Args:
            features: Input of the blocks. Shape (batch, time, hidden).
            lengths: Number of valid tokens of each clip, int64. Shape (batch,).
            host_lengths: `lengths` on the CPU. None: they are read from the device, which waits for it.
            encode_padding: Whether to encode what follows the end of a clip too, if a window holds the longest clip.

        Returns:
            Shape (batch, time, hidden). Values after the end of a clip are undefined without `encode_padding`.
        """
        if torch.compiler.is_exporting() and not self.one_window:
            return self._in_whole_windows(features, lengths)
        if self.one_window or features.shape[1] <= self.window:
            return self.blocks(features, lengths, host_lengths, encode_padding)
        return self._in_windows(features, lengths if host_lengths is None else host_lengths)

    def blocks(
        self, tokens: Tensor, lengths: Tensor, host_lengths: Tensor | None = None, encode_padding: bool = False
    ) -> Tensor:
        """Apply all blocks to (batch, time, hidden), with the arguments of `forward`. `time` is at most a window.

        Clips of similar length are encoded together, unless padding is to be encoded.
        """
        if torch.compiler.is_exporting():
            return self._padded_blocks(tokens, ~frame_mask(lengths, tokens.shape[1]))
        known = (lengths.cpu() if host_lengths is None else host_lengths).clamp(min=1, max=tokens.shape[1])
        groups = [] if encode_padding else groups_by_length(known)
        if len(groups) <= 1:
            return self._padded_blocks(tokens, _padding(known, tokens))
        parts = []
        for rows in groups:
            part = tokens[rows.to(tokens.device, non_blocking=True), : int(known[rows].max())]
            encoded = self._padded_blocks(part, _padding(known[rows], part))
            parts.append(F.pad(encoded, (0, 0, 0, tokens.shape[1] - part.shape[1])))
        order = torch.cat(groups).argsort().to(tokens.device, non_blocking=True)
        return torch.cat(parts)[order]

    def _padded_blocks(self, tokens: Tensor, padding: Tensor | None) -> Tensor:
        """Apply all blocks to (batch, time, hidden); `padding` (batch, time) is True at padding, None without any."""
        for layer in self.layers:
            tokens = layer(tokens, padding)
        return tokens

    def _in_whole_windows(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Encode all windows of all clips. No branch depends on a length, so a graph can be exported."""
        clips, time = features.shape[:2]
        step = self.window - self.overlap
        count = cast(int, torch.sym_max(1, (time - self.overlap + step - 1) // step))
        steps = F.pad(features, (0, 0, 0, (count + 1) * step - time)).unflatten(1, (count + 1, step))
        windows = torch.cat([steps[:, :-1], steps[:, 1:, : self.overlap]], dim=2)
        valid = (lengths.unsqueeze(1) - torch.arange(count, device=lengths.device) * step).clamp(0, self.window)
        # A window without new tokens is encoded too, and gets the weight 0.
        first = torch.arange(count, device=lengths.device) == 0
        used = (first | (valid > self.overlap)).to(features.dtype).unsqueeze(2)
        encoded = self.blocks(windows.flatten(0, 1), valid.flatten().clamp(min=1)).unflatten(0, (clips, count))
        weights = self.taper.to(features.dtype) * used
        sums = _overlap_add(encoded * weights.unsqueeze(3), step)
        return (sums / _overlap_add(weights.unsqueeze(3), step).clamp(min=LEAST_WEIGHT))[:, :time]

    def _in_windows(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Encode the windows of all clips, and average them where they overlap. Equal lengths form a batch."""
        groups: dict[int, list[tuple[int, int]]] = {}
        for clip, length in enumerate(lengths.tolist()):
            for start in range(0, features.shape[1], self.window - self.overlap):
                if start == 0 or length > start + self.overlap:
                    groups.setdefault(min(self.window, max(1, length - start)), []).append((clip, start))
        sums, weights = torch.zeros_like(features), features.new_zeros(*features.shape[:2], 1)
        for size, windows in groups.items():
            taper = self.taper[:size].to(features.dtype).unsqueeze(1)
            for first in range(0, len(windows), _BATCH_WINDOWS):
                part = windows[first : first + _BATCH_WINDOWS]
                tokens = torch.stack([features[clip, start : start + size] for clip, start in part])
                full = torch.full((len(part),), size)
                encoded = self.blocks(tokens, full.to(tokens.device, non_blocking=True), full)
                for (clip, start), window in zip(part, encoded, strict=True):
                    sums[clip, start : start + size] += window * taper
                    weights[clip, start : start + size] += taper
        return sums / weights.clamp(min=LEAST_WEIGHT)


def _padding(lengths: Tensor, tokens: Tensor) -> Tensor | None:
    """Return a mask (batch, time) that is True after the end of each clip; None if there is no padding.

    Args:
        lengths: Number of valid tokens of each clip, int64, on the CPU. Shape (batch,).
        tokens: Shape (batch, time, hidden).
    """
    if bool((lengths >= tokens.shape[1]).all()):
        return None
    return ~frame_mask(lengths, tokens.shape[1]).to(tokens.device, non_blocking=True)


def _overlap_add(windows: Tensor, step: int) -> Tensor:
    """Add up windows that begin every `step` tokens.

    Args:
        windows: Shape (clips, count, window, dim); `window` is at most 2 * `step`.
        step: Tokens from the start of one window to the next.

    Returns:
        Shape (clips, (count + 1) * step, dim).
    """
    starts, ends = windows[:, :, :step], windows[:, :, step:]
    ends = F.pad(ends, (0, 0, 0, step - ends.shape[2]))
    return F.pad(starts.flatten(1, 2), (0, 0, 0, step)) + F.pad(ends.flatten(1, 2), (0, 0, step, 0))
