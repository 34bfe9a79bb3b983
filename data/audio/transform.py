"""The Fourier transform as matrix products, for exported graphs.

Few runtimes have an operator for the transform: OpenVINO's has a fixed length, and the runtimes for phones and for the
browser's GPU have none. All of them multiply matrices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.data.audio.precision import Float32Module


class FactoredTransform(Float32Module):
    """Power spectrum of real frames: a transform of `points` = rows * columns, by two small matrices (Cooley, Tukey).

    The transform along the rows, a rotation, and the transform along the columns take 60 KiB and about a tenth of the
    products of one matrix of all frequencies, which takes 4 MiB for 1024 points. Sums of fewer terms are more exact.

    Args:
        points: Samples of the transform.
        samples: Samples of a frame, at most `points`. The others are 0.
    """

    first: Tensor
    second: Tensor
    cosine: Tensor
    sine: Tensor
    order: Tensor

    def __init__(self, points: int, samples: int) -> None:
        super().__init__()
        rows = max(divisor for divisor in range(1, math.isqrt(points) + 1) if not points % divisor)
        columns = points // rows
        # Frequency f = a + rows * b is the row a and the column b of the result. The rows after `half` are the
        # conjugates of earlier ones, since frames are real.
        half = rows // 2 + 1
        used = -(-samples // columns)  # rows of samples that are not all 0
        self.shape, self.missing = (used, columns), used * columns - samples
        along_rows = _angles(torch.arange(used), torch.arange(half), rows)
        rotation = _angles(torch.arange(half), torch.arange(columns), points)
        along_columns = _angles(torch.arange(columns), torch.arange(columns), columns)
        cosine, sine = along_columns.cos(), along_columns.sin()
        frequencies = torch.arange(points // 2 + 1)
        row, column = frequencies % rows, frequencies // rows
        conjugate = row >= half
        row = torch.where(conjugate, rows - row, row)
        column = torch.where(conjugate, columns - 1 - column, column)
        buffers = {
            "first": torch.cat([along_rows.cos(), -along_rows.sin()], 1),
            "cosine": rotation.cos(),
            "sine": rotation.sin(),
            "second": torch.cat([torch.cat([cosine, -sine], 1), torch.cat([sine, cosine], 1)]),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer.float(), persistent=False)
        self.register_buffer("order", row * columns + column, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Compute the power (..., points // 2 + 1) of windowed frames (..., samples), float32."""
        grid = F.pad(frames, (0, self.missing)).unflatten(-1, self.shape).transpose(-2, -1)
        real, imaginary = (grid @ self.first).transpose(-2, -1).chunk(2, -2)
        rotated = (real * self.cosine + imaginary * self.sine, imaginary * self.cosine - real * self.sine)
        real, imaginary = (torch.cat(rotated, -1) @ self.second).chunk(2, -1)
        return (real.square() + imaginary.square()).flatten(-2).index_select(-1, self.order)


def _angles(rows: Tensor, columns: Tensor, period: int) -> Tensor:
    """Return 2 pi * row * column / period, float64, exact for large products."""
    return torch.outer(rows, columns).remainder(period).double() * (2 * math.pi / period)
