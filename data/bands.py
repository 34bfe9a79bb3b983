"""Energies of frequency bands of overlapping frames, computed a piece at a time in memory that is used again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_PIECE = 1 << 19  # numbers that are transformed at a time; with their spectrum they still fit a processor's cache


class BandSums(nn.Module):
    """Sums over triangular bands. Neighbouring bands are summed together over the frequencies that they cover.

    Args:
        filters: Weight of each frequency in each band. Shape (frequencies, bands).
        together: Bands in a group.
    """

    def __init__(self, filters: Tensor, together: int = 16) -> None:
        super().__init__()
        self.bands = filters.shape[1]
        self._spans: list[tuple[slice, slice]] = []
        for number, group in enumerate(filters.split(together, dim=1)):
            covered = group.sum(1).nonzero().flatten().tolist() or [0]  # narrow bands may lie between frequencies
            first, last = covered[0], covered[-1] + 1
            bands = slice(number * together, number * together + group.shape[1])
            self._spans.append((slice(first, last), bands))
            self.register_buffer(f"group{number}", group[first:last].contiguous(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        """Power of each frequency (..., frequencies) -> energies (..., bands)."""
        return torch.cat([power[..., covered] @ weights for covered, _, weights in self._groups()], dim=-1)

    def into(self, power: Tensor, energies: Tensor) -> None:
        """The same for (time, frequencies), written to (time, bands)."""
        for covered, bands, weights in self._groups():
            torch.mm(power[:, covered], weights, out=energies[:, bands])

    def _groups(self) -> list[tuple[slice, slice, Tensor]]:
        return [(*span, getattr(self, f"group{number}")) for number, span in enumerate(self._spans)]


def may_reuse_memory(waveform: Tensor) -> bool:
    """Whether `energies_in_cache` serves: it does not on a device, in a graph or where a gradient is wanted."""
    return waveform.device.type == "cpu" and not torch.compiler.is_compiling() and not waveform.requires_grad


def energies_in_cache(
    frames: Tensor, prepare: Callable[[Tensor, Tensor, Tensor], None], points: int, sums: BandSums
) -> Tensor:
    """Energies of bands of frames. Shape (batch, time, bands).

    On a processor this is bound by memory: fresh memory for every step costs more than the arithmetic, so each step
    writes where the piece before it wrote. A piece is a part of a long clip, or several short ones.

    Args:
        frames: Overlapping views of samples. Shape (batch, time, samples).
        prepare: Writes what is to be transformed, given a piece of frames (clips, time, samples), where it goes
            (clips, time, points), which holds zeros or an earlier piece's, and memory to use meanwhile
            (clips, time, points + 2).
        points: Of the transform.
        sums: The bands.
    """
    clips, time = frames.shape[:2]
    energies, piece = frames.new_empty(clips, time, sums.bands), _PIECE // points
    transformed = frames.new_zeros(min(piece, clips * time), points)
    spectrum = torch.empty(len(transformed), points // 2 + 1, dtype=torch.complex64)
    squares, power = torch.view_as_real(spectrum), torch.empty(spectrum.shape)
    together = max(1, piece // time)
    for some, theirs in zip(frames.split(together), energies.split(together), strict=True):
        for part, into in zip(some.split(piece, 1), theirs.split(piece, 1), strict=True):
            shape, rows = part.shape[:2], part.shape[:2].numel()
            prepare(part, transformed[:rows].view(*shape, -1), squares[:rows].view(*shape, -1))
            torch.fft.rfft(transformed[:rows], out=spectrum[:rows])
            real, imaginary = squares[:rows].square_().unbind(2)
            sums.into(torch.add(real, imaginary, out=power[:rows]), into.flatten(0, 1))
    return energies
