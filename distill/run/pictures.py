"""Pictures of a run, written to files: losses and cluster sizes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from distill.data.files import write_atomically
from distill.data.sampling.clusters import Clustering
from distill.run.folder import Run
from distill.run.options import FitOptions
from distill.training.metrics_file import COLUMNS, VALIDATION

matplotlib.use("agg")
from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically, and create its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120, bbox_inches="tight"))


def draw_run(run: Run, options: FitOptions, losses: Sequence[str] = ()) -> None:
    """Draw metrics.csv into the report: the losses against epochs, and a panel for every other measurement.

    Args:
        run: Run folder with a metrics.csv.
        options: Options of the run, for the title.
        losses: Names of the objective's losses, which are drawn with the total. Other columns have panels.
    """
    specs = options.specs()
    teachers = f" of {' and '.join(spec.name for spec in specs.teachers)}" if specs.teachers else ""
    draw_losses(run.metrics, run.report / "losses.png", specs.objective.name + teachers, losses)
    draw_observed(run.metrics, run.report / "observed.png", losses)


def draw_losses(metrics: Path, path: Path, title: str, losses: Sequence[str] = ()) -> None:
    """Draw training and validation loss against epochs.

    Args:
        metrics: File metrics.csv of the run.
        path: PNG file to write.
        title: Title of the picture.
        losses: Names of the parts of the loss, which are drawn too if there are several.
    """
    with open(metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    lines = {"training": ("loss", ".-"), "validation": ("validation_loss", "o-")}
    if len(losses) > 1:
        lines |= {name: (name, ".--") for name in losses}
    for label, (column, style) in lines.items():
        points = [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=3, linewidth=1.2)
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def draw_observed(metrics: Path, path: Path, losses: Sequence[str]) -> None:
    """Draw a panel for each quantity that the objective reports, such as accuracy or perplexity.

    Without any, no file is written.

    Args:
        metrics: File metrics.csv of the run.
        path: PNG file to write.
        losses: Names of the parts of the loss, which have no panel.
    """
    with open(metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    not_observed = {*COLUMNS, *losses}
    names = [name for name in rows[0] if name not in not_observed and not name.startswith(VALIDATION)] if rows else []
    if not names:
        return
    figure = Figure(figsize=(3.6 * len(names), 2.8))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for column, label, style in ((name, "training", ".-"), (f"validation_{name}", "validation", "o-")):
            points = [(float(row["epoch"]), float(row[column])) for row in rows if row.get(column)]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=label, markersize=3, linewidth=1.2)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def draw_clusters(clustering: Clustering, path: Path) -> None:
    """Draw the sizes of the clusters, largest first, as a PNG file."""
    sizes = np.sort(clustering.sizes)[::-1]
    report = clustering.report()
    figure = Figure(figsize=(6, 3.6))
    axes = figure.subplots()
    axes.bar(np.arange(len(sizes)), sizes, width=1.0, edgecolor="white", linewidth=0.3)
    axes.axhline(sizes.mean(), color="black", linewidth=0.8, linestyle="--", label="mean")
    axes.set(
        xlabel="cluster, by size",
        ylabel="clips",
        title=f"{len(sizes)} clusters, effective number {report['effective_clusters']:.1f}",
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def policies_figure(weights: Mapping[str, NDArray[np.float64]], shares: Mapping[str, float], head: str) -> Figure:
    """Return a figure of the sampling policies: the share of the head, and the inequality of the draws.

    Args:
        weights: Sampling weights of the clips by policy, each of shape (clips,).
        shares: Share of the draws that falls on the head, by policy.
        head: Description of the head: the most frequent kind of clips.
    """
    figure = Figure(figsize=(9.0, 3.2))
    left, right = figure.subplots(1, 2)
    left.bar(range(len(shares)), list(shares.values()), color="tab:blue", alpha=0.7)
    for place, share in enumerate(shares.values()):
        left.text(place, share + 0.01, f"{share:.2f}", ha="center")
    left.set_xticks(range(len(shares)), list(shares))
    left.set(ylabel="share of draws", title=f"the head: {head}", ylim=(0, 1.05))
    for policy, weight in weights.items():
        drawn = np.cumsum(np.sort(weight)[::-1])
        right.plot(np.linspace(0, 1, len(drawn)), drawn, label=policy, linewidth=1.2)
    right.set(xlabel="share of clips, most drawn first", ylabel="share of draws", xlim=(0, 1), ylim=(0, 1.02))
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure
