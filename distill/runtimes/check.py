"""Compare the file of a student with PyTorch, before a user gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.data.errors import UserError
from distill.runtimes.graph import StudentGraph

CHECKED_SECONDS = (0.1, 0.5, 2.0, 7.3, 30.0)
_CLIPS = (1, 2)
_MAX_DIFFERENCE = 1e-5  # of float32, relative to the largest number of an output
_MAX_OTHER_TOKENS = 0.01  # share; a rounding may decide between two codes of equal score
_SILENT = 1e-6  # outputs below are the rounding errors of a network that returns 0

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.generic]]]
"""Computes the outputs by name from clips (batch, samples)."""


def largest_difference(run: Run, graph: StudentGraph, lengths: Sequence[int]) -> float:
    """Return the largest difference between a runtime and PyTorch, relative to the largest number of an output.

    A graph of free length gets noise, in batches of 1 and 2 clips. A graph of a fixed length gets three clips, one by
    one.

    Args:
        run: Computes the outputs in the runtime.
        graph: The student.
        lengths: Samples of the clips, for a graph of free length.

    Raises:
        UserError: the runtime fails, or an output has another shape, is not finite, or differs by more than 1e-5.
    """
    worst = 0.0
    for waveform, counts in _three_signals(graph.fixed) if graph.fixed else _noise(lengths):
        with torch.no_grad():
            inputs = graph.input(waveform)
            values = graph.module(inputs)
        for count in counts:
            place = f"{count} x {waveform.shape[1] / graph.sample_rate:g} s"
            try:
                found = run(inputs[:count].numpy())
            except Exception as error:  # each runtime raises classes of its own
                raise UserError(f"the check failed: the runtime refuses {place} ({_on_one_line(error)})") from error
            for name, expected in zip(graph.outputs, values, strict=True):
                worst = max(worst, _difference(found[name], expected[:count].numpy(), f"{name} of {place}"))
    return worst


def lengths_of(graph: StudentGraph) -> list[int]:
    """Return the lengths of the check, in samples: the fixed one, or five from 0.1 s to 30 s or to the longest clip."""
    return [graph.fixed] if graph.fixed else sorted({graph.samples(seconds) for seconds in CHECKED_SECONDS})


def _noise(lengths: Sequence[int]) -> Iterator[tuple[Tensor, Sequence[int]]]:
    """Yield clips, and how many of them make a batch."""
    generator = torch.Generator().manual_seed(0)
    for samples in lengths:
        yield torch.randn(max(_CLIPS), samples, generator=generator) * 0.1, _CLIPS


def _three_signals(samples: int) -> Iterator[tuple[Tensor, Sequence[int]]]:
    """Yield noise, quiet noise and a tone of the fixed length."""
    noise = torch.randn(1, samples, generator=torch.Generator().manual_seed(0)) * 0.1
    tone = torch.sin(torch.arange(samples) * (2 * torch.pi / 32)).unsqueeze(0) * 0.5  # 1 kHz at 32 kHz
    for waveform in (noise, noise * 1e-3, tone):
        yield waveform, (1,)


def _on_one_line(error: BaseException) -> str:
    """Return the end of an error's message, since runtimes name the operator after their own files."""
    return " ".join(str(error).split())[-200:] or type(error).__name__


def _difference(found: NDArray[np.generic], expected: NDArray[np.generic], where: str) -> float:
    """Return the largest difference. Raise UserError if it is too large. Tokens differ by 0, or too often."""
    if found.shape != expected.shape:
        raise UserError(f"the check failed: {where} has shape {found.shape}, in PyTorch {expected.shape}")
    if not expected.size:
        return 0.0
    if expected.dtype.kind == "i":
        if (share := float((found != expected).mean())) > _MAX_OTHER_TOKENS:
            raise UserError(f"the check failed: {share:.1%} of {where} differ from PyTorch")
        return 0.0
    exact, other = expected.astype(np.float64), found.astype(np.float64)
    difference = float(np.abs(other - exact).max() / max(np.abs(exact).max(), _SILENT))
    if not difference <= _MAX_DIFFERENCE:  # also for NaN
        raise UserError(
            f"the check failed: {where} differs from PyTorch by {difference:.1e} of its largest number; "
            f"at most {_MAX_DIFFERENCE:.0e} is allowed"
        )
    return difference
