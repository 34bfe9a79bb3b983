"""Energies of the frequency bands of overlapping frames, computed piece by piece in preallocated buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

_BANDS_PER_GROUP = 16
_MAX_JOINED_WEIGHTS = 2_300  # about: a product with so few weights takes less time than the call of a second one
_NUMBERS_PER_PIECE = 5 << 17  # about: with its spectrum, a piece of this size still fits the processor's cache

Compress = Callable[[Tensor, Tensor | None], Tensor]
"""Compresses energies, for example by a logarithm. May overwrite its input. Writes to the second argument if given."""


def unchanged(energies: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the energies without compression."""
    return energies if out is None else out.copy_(energies)


class BandSums(nn.Module):
    """Weighted sums of the power in triangular bands.

    Neighbouring bands form a group, which is one matrix product over the frequencies that the group covers.

    Args:
        filters: Weight of each frequency in each band. Shape (frequencies, bands).
    """

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.bands = filters.shape[1]
        self._groups: list[tuple[slice, slice]] = []  # frequencies, bands
        for bands in _band_groups(filters):
            frequencies = _covered_frequencies(filters[:, bands])
            self._groups.append((frequencies, bands))
            self.register_buffer(f"group{bands.start}", filters[frequencies, bands].contiguous(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        """Map the power of each frequency (..., frequencies) to energies (..., bands)."""
        return torch.cat([power[..., frequencies] @ weights for frequencies, _, weights in self._weighted()], dim=-1)

    def products(self, power: Tensor, energies: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return the matrix products that map power (time, frequencies) to energies (time, bands).

        Each is (left factor, right factor, output). The tensors are views, so buffers are sliced once and then reused.
        """
        return [
            (power[:, frequencies], weights, energies[:, bands]) for frequencies, bands, weights in self._weighted()
        ]

    def _weighted(self) -> list[tuple[slice, slice, Tensor]]:
        return [(frequencies, bands, getattr(self, f"group{bands.start}")) for frequencies, bands in self._groups]


def _band_groups(filters: Tensor) -> list[slice]:
    """Return groups of 16 bands, or of 32 where the bands are narrow and one product costs less than two."""
    groups: list[slice] = []
    for first in range(0, filters.shape[1], _BANDS_PER_GROUP):
        joined = slice(groups[-1].start if groups else 0, min(first + _BANDS_PER_GROUP, filters.shape[1]))
        frequencies, bands = _covered_frequencies(filters[:, joined]), joined.stop - joined.start
        cheap = (frequencies.stop - frequencies.start) * bands <= _MAX_JOINED_WEIGHTS
        if groups and bands <= 2 * _BANDS_PER_GROUP and cheap:
            groups[-1] = joined
        else:
            groups.append(slice(first, joined.stop))
    return groups


def _covered_frequencies(filters: Tensor) -> slice:
    """Return the frequencies from the first to the last weight of some bands (frequencies, bands).

    Without any weight, return the first frequency: narrow bands may lie between two frequencies.
    """
    covered = filters.sum(1).nonzero().flatten().tolist() or [0]
    return slice(covered[0], covered[-1] + 1)


class Buffers(NamedTuple):
    """Memory for the largest piece, shared by the workspaces of all shapes. Each buffer has one row per frame.

    Args:
        scratch: Shape (rows, samples of a frame).
        points: Input of the transform. Shape (rows, points).
        power: Shape (rows, points // 2 + 1).
        energies: Shape (rows, bands).
    """

    scratch: Tensor
    points: Tensor
    power: Tensor
    energies: Tensor


class Workspace:
    """Preallocated buffers for transforming pieces of one shape, reused for every piece.

    Args:
        buffers: Memory of at least clips * time rows.
        clips: Clips in a piece.
        time: Frames of each clip in a piece.
        support: Points of the transform that the window covers. The others are 0.
        sums: The bands.

    Attributes:
        scratch: Free for intermediate results. Shape (clips, time, samples of a frame).
        windowed: Windowed frames: the input of `energies`. Shape (clips, time, points of `support`).
    """

    def __init__(self, buffers: Buffers, clips: int, time: int, support: slice, sums: BandSums) -> None:
        rows = Buffers(*(buffer[: clips * time] for buffer in buffers))
        self.scratch = rows.scratch.view(clips, time, -1)
        self.windowed = rows.points.view(clips, time, -1)[..., support]
        self._points, self._power = rows.points, rows.power
        self._energies = rows.energies.view(clips, time, -1)
        self._products = sums.products(rows.power, rows.energies)

    def energies(self) -> Tensor:
        """Return the band energies (clips, time, bands) of `windowed`. The next piece overwrites them."""
        # With `out=`, rfft would write the spectrum to new memory and copy it.
        real, imaginary = torch.view_as_real(torch.fft.rfft(self._points)).square_().unbind(2)
        torch.add(real, imaginary, out=self._power)
        for power, weights, energies in self._products:
            torch.mm(power, weights, out=energies)
        return self._energies


ApplyWindow = Callable[[Tensor, Workspace], object]
"""Writes the windowed frames of a piece (clips, time, samples) to `windowed` of the workspace."""


def energies_by_piece(
    frames: Tensor,
    apply_window: ApplyWindow,
    support: slice,
    points: int,
    sums: BandSums,
    compress: Compress = unchanged,
    out: Tensor | None = None,
) -> Tensor:
    """Compute the compressed band energies of frames, in pieces that fit the processor's cache.

    On a CPU, memory limits the speed: new memory for every step costs more than the arithmetic. So every piece uses
    the same buffers, and only the last step writes to the output. A piece is part of a long clip, or several clips.

    Args:
        frames: Overlapping views of samples. Shape (batch, time, samples).
        apply_window: Windows one piece. Called once for each piece.
        support: Points of the transform that the window covers. The others are 0.
        points: Points of the transform.
        sums: The bands.
        compress: Compresses the energies (clips, time, bands) of one piece.
        out: Memory for the result, (batch, time, bands). None allocates it.

    Returns:
        Shape (batch, time, bands).
    """
    clips, time, samples = frames.shape
    if out is None:
        out = frames.new_empty(clips, time, sums.bands)
    pieces_per_clip = max(1, round(time * points / _NUMBERS_PER_PIECE))
    frames_per_piece = -(-time // pieces_per_clip)  # about equal, since a short piece costs as many calls
    clips_per_piece = max(1, _NUMBERS_PER_PIECE // points // time)
    rows = frames_per_piece * min(clips_per_piece, clips)
    buffers = Buffers(*(frames.new_empty(rows, width) for width in (samples, points, points // 2 + 1, sums.bands)))
    buffers.points[:, : support.start] = 0
    buffers.points[:, support.stop :] = 0
    workspaces: dict[tuple[int, int], Workspace] = {}
    pieces = (_split(tensor, clips_per_piece, frames_per_piece) for tensor in (frames, out))
    for piece, out_piece in zip(*pieces, strict=True):
        shape = piece.shape[0], piece.shape[1]
        if shape not in workspaces:
            workspaces[shape] = Workspace(buffers, *shape, support, sums)
        apply_window(piece, workspaces[shape])
        compress(workspaces[shape].energies(), out_piece)
    return out


def _split(tensor: Tensor, clips: int, time: int) -> list[Tensor]:
    """Split a tensor (batch, time, ...) into parts of at most (clips, time, ...)."""
    groups = tensor.split(clips)
    return [part for group in groups for part in group.split(time, 1)] if time < tensor.shape[1] else list(groups)
