"""Energies of frequency bands of overlapping frames, computed a piece at a time in memory that is used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

_WORTH_ONE_PRODUCT = 2_300  # weights of neighbouring groups, about: the call of a product costs as much as they do
_PIECE = 5 << 17  # numbers that are transformed at a time, or a few more; with their spectrum they still fit a cache

Compress = Callable[[Tensor, Tensor | None], Tensor]
"""What becomes of energies, which it may overwrite: written to the second tensor, or new where that is None."""


def unchanged(energies: Tensor, out: Tensor | None = None) -> Tensor:
    """Energies as they are."""
    return energies if out is None else out.copy_(energies)


class BandSums(nn.Module):
    """Sums over triangular bands. Neighbouring bands are summed together over the frequencies that they cover.

    Args:
        filters: Weight of each frequency in each band. Shape (frequencies, bands).
    """

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.bands = filters.shape[1]
        self._spans: list[tuple[slice, slice]] = []
        for bands in _groups(filters):
            covered = _covered(filters[:, bands])
            self._spans.append((covered, bands))
            self.register_buffer(f"group{bands.start}", filters[covered, bands].contiguous(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        """Power of each frequency (..., frequencies) -> energies (..., bands)."""
        return torch.cat([power[..., covered] @ weights for covered, _, weights in self._weighted()], dim=-1)

    def products(self, power: Tensor, energies: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The matrix products that make energies (time, bands) of power (time, frequencies): left, right, and result.

        They are views, so that memory which is filled again and again is divided once.
        """
        return [(power[:, covered], weights, energies[:, bands]) for covered, bands, weights in self._weighted()]

    def _weighted(self) -> list[tuple[slice, slice, Tensor]]:
        return [(covered, bands, getattr(self, f"group{bands.start}")) for covered, bands in self._spans]


def _covered(filters: Tensor) -> slice:
    """The frequencies that any of some bands (frequencies, bands) weighs; the first where there is none."""
    covered = filters.sum(1).nonzero().flatten().tolist() or [0]  # narrow bands may lie between frequencies
    return slice(covered[0], covered[-1] + 1)


def _groups(filters: Tensor) -> list[slice]:
    """Sixteen bands at a time, or thirty-two where they are so narrow that one product costs less than two."""
    groups: list[slice] = []
    for first in range(0, filters.shape[1], 16):
        both = slice(groups[-1].start if groups else 0, min(first + 16, filters.shape[1]))
        covered = _covered(filters[:, both])
        cheap = (covered.stop - covered.start) * (both.stop - both.start) <= _WORTH_ONE_PRODUCT
        if groups and both.stop - both.start <= 32 and cheap:
            groups[-1] = both
        else:
            groups.append(slice(first, both.stop))
    return groups


class Room:
    """Memory in which one piece after another is transformed, as views for pieces of one shape.

    Args:
        shared: The memory of all shapes: samples, points, power and energies of each frame.
        shape: Clips and frames of a piece.
        place: Points of the transform that are not 0.
        sums: The bands.

    Attributes:
        scratch: For use on the way. Shape (clips, time, samples).
        weighed: What is to be transformed (clips, time, points of `place`).
    """

    def __init__(self, shared: Sequence[Tensor], shape: Sequence[int], place: slice, sums: BandSums) -> None:
        scratch, self.points, self.power, energies = (memory[: shape[0] * shape[1]] for memory in shared)
        self.scratch = scratch.view(*shape, -1)
        self.energies = energies.view(*shape, -1)
        self.weighed = self.points.view(*shape, -1)[..., place]
        self._products = sums.products(self.power, energies)

    def transform(self) -> Tensor:
        """Energies (clips, time, bands) of what is weighed, to be used before the next piece."""
        # Not `out=`: torch would make the spectrum elsewhere and copy it.
        real, imaginary = torch.view_as_real(torch.fft.rfft(self.points)).square_().unbind(2)
        torch.add(real, imaginary, out=self.power)
        for covered, weights, bands in self._products:
            torch.mm(covered, weights, out=bands)
        return self.energies


Weigh = Callable[[Tensor], object]
"""Fills the `weighed` of a room from a piece of frames (clips, time, samples)."""


def energies_in_cache(
    frames: Tensor,
    weigh_in: Callable[[Room], Weigh],
    place: slice,
    points: int,
    sums: BandSums,
    compress: Compress = unchanged,
    result: Tensor | None = None,
) -> Tensor:
    """Energies of bands of frames, or what `compress` makes of them. Shape (batch, time, bands).

    On a processor this is bound by memory: fresh memory for every step costs more than the arithmetic, so each step
    writes where the piece before it wrote, and only the last one to the result. A piece is a part of a long clip, or
    several short ones.

    Args:
        frames: Overlapping views of samples. Shape (batch, time, samples).
        weigh_in: Weighs pieces in a room. Called once a room, so that what it divides is divided once.
        place: Points of the transform that it fills; the others are 0.
        points: Of the transform.
        sums: The bands.
        compress: What becomes of a piece's energies (clips, time, bands).
        result: Where it goes (batch, time, bands); new memory unless given.
    """
    clips, time, samples = frames.shape
    if result is None:
        result = frames.new_empty(clips, time, sums.bands)
    pieces = max(1, round(time * points / _PIECE))  # of a clip; equal ones, since a short one costs as many calls
    piece = -(-time // pieces)
    together = max(1, _PIECE // points // time)
    most = piece * min(together, clips)
    shared = [frames.new_empty(most, columns) for columns in (samples, points, points // 2 + 1, sums.bands)]
    shared[1][:, : place.start] = 0
    shared[1][:, place.stop :] = 0
    rooms: dict[torch.Size, tuple[Weigh, Room]] = {}
    for part, into in zip(_pieces(frames, together, piece), _pieces(result, together, piece), strict=True):
        shape = part.shape[:2]
        if shape not in rooms:
            room = Room(shared, shape, place, sums)
            rooms[shape] = weigh_in(room), room
        weigh, room = rooms[shape]
        weigh(part)
        compress(room.transform(), into)
    return result


def _pieces(tensor: Tensor, clips: int, time: int) -> list[Tensor]:
    """Parts (clips, time, ...) of a tensor, at the most so large."""
    whole = tensor.split(clips)
    return [part for some in whole for part in some.split(time, 1)] if time < tensor.shape[1] else list(whole)
