"""Figures of the results of an objective."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def codes_figure(counts: NDArray[np.float64], title: str) -> Figure:
    """Return a bar chart of the use of each code, given counts (codes,), in descending order."""
    figure = Figure(figsize=(6, 3.2))
    axes = figure.subplots()
    shares = np.sort(counts / max(1.0, counts.sum()))[::-1]
    axes.bar(np.arange(len(shares)), shares, width=1.0)
    axes.axhline(1 / len(shares), color="black", linewidth=0.8, linestyle="--", label="uniform use")
    axes.set(xlabel="code, in descending order of use", ylabel="share of tokens", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def spectrograms_figure(original: NDArray[np.float32], reconstruction: NDArray[np.float32], hop: float) -> Figure:
    """Return a figure of spectrograms above their reconstructions, for at most four clips.

    Args:
        original: Shape (clips, frames, bands).
        reconstruction: Shape (clips, frames, bands).
        hop: Seconds between two frames.
    """
    clips = min(4, len(original))
    figure = Figure(figsize=(3.2 * clips, 4.4))
    grid = figure.subplots(2, clips, squeeze=False, sharex=True, sharey=True)
    extent = (0.0, original.shape[1] * hop, 0.0, float(original.shape[2]))
    for row, (name, spectra) in enumerate((("original", original), ("reconstruction", reconstruction))):
        for clip in range(clips):
            axes = grid[row][clip]
            axes.imshow(spectra[clip].T, origin="lower", aspect="auto", extent=extent, vmin=-3, vmax=3, cmap="magma")
            axes.set(title=name if clip == 0 else "", xlabel="seconds" if row else "")
            axes.set_ylabel("mel band" if clip == 0 else "")
    figure.tight_layout()
    return figure
