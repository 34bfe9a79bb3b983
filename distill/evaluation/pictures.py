"""Figures of results: confusion matrix, map of embeddings, temporal support, score against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from distill.evaluation.calibration import Reliability
from distill.evaluation.plane import MAX_GROUPS, NONE, OTHERS, Grouping, Plane
from distill.evaluation.quality import Agreement
from distill.evaluation.results import Entry, ProbeResult


def confusion_figure(counts: NDArray[np.int64], names: Sequence[str], title: str) -> Figure:
    """Return a figure of a confusion matrix (rows: true classes), as shares of each row."""
    side = min(14.0, max(3.5, 0.28 * len(names) + 1.6))
    figure = Figure(figsize=(side + 0.8, side))
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 60:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    if len(names) <= 12:
        for row, column in np.argwhere(counts > 0):
            dark = shares[row, column] > 0.5
            color = "white" if dark else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, fraction=0.046, label="share of the clips of a class")
    return figure


def reliability_figure(found: Mapping[str, Reliability], title: str) -> Figure:
    """Return a figure of how often probabilities come true, a line for each calibration; below, their numbers.

    Args:
        found: Reliability by the name of the calibration, such as "before" and "after".
        title: Title of the picture.
    """
    figure = Figure(figsize=(4.4, 4.8))
    upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    upper.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=0.8)
    for number, (name, measured) in enumerate(found.items()):
        label = f"{name} calibration error {measured.error:.3f}".strip()
        upper.plot(measured.confidence, measured.frequency, "o-", markersize=4, linewidth=1.2, label=label)
        edges = np.linspace(0, 1, len(measured.counts) + 1)
        lower.stairs(measured.counts, edges, color=f"C{number}", fill=len(found) == 1)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is true")
    upper.set_title(title, fontsize=9)
    lower.set(xlabel="probability", ylabel="number", yscale="log")
    lower.yaxis.set_minor_formatter(NullFormatter())  # the labels of few predictions would overlap
    upper.legend(frameon=False, fontsize=8)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


GROUP_COLOURS = [to_hex(colour) for colour in colormaps["tab20"]([*range(0, 20, 2), *range(1, 20, 2)])]
"""Colours of the groups of a map, as "#rrggbb". The strong ones come first. Groups beyond them are grey."""


def map_figure(plane: Plane, groupings: Mapping[str, Grouping], title: str) -> Figure:
    """Return a figure of a map of embeddings, with a panel for each grouping.

    Args:
        plane: Positions of the clips.
        groupings: Groups of the clips, by the name of the grouping, such as "label".
        title: Title of the picture.
    """
    figure = Figure(figsize=(7.0 * len(groupings), 5.4))
    size = float(np.clip(6000 / max(1, len(plane.positions)), 4, 40))
    for axes, (name, grouping) in zip(
        np.atleast_1d(figure.subplots(1, len(groupings))), groupings.items(), strict=True
    ):
        for place in reversed(range(len(grouping.names))):  # the grey points lie below
            points = plane.positions[grouping.codes == place]
            axes.scatter(points[:, 0], points[:, 1], s=size, color=group_colour(grouping, place), linewidths=0)
        handles = [
            Line2D([], [], linestyle="", marker="o", markersize=5, color=group_colour(grouping, place))
            for place in range(len(grouping.names))
        ]
        # Matplotlib omits names that begin with "_", so they follow a space.
        names = [f" {printable(group, 32)}" for group in grouping.names]
        legend = axes.legend(handles, names, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=7)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a label may hold "$"
        axes.set(xticks=[], yticks=[], aspect="equal")
        axes.set_title(f"by {name}", fontsize=9)
    figure.suptitle(f"{printable(title, 90)}, {plane.method}", fontsize=10, parse_math=False)
    figure.tight_layout()
    return figure


def group_colour(grouping: Grouping, place: int) -> str:
    """Return the colour of a group: one of `GROUP_COLOURS`, or grey for clips without a group of their own."""
    own = grouping.names[place] not in (OTHERS, NONE) and place < MAX_GROUPS
    return GROUP_COLOURS[place] if own else "#bbbbbb" if grouping.names[place] == OTHERS else "#dddddd"


def printable(text: str, length: int) -> str:
    """Return a text of at most some characters. Bytes that are not UTF-8 become question marks."""
    valid = text.encode("utf-8", "replace").decode()
    return valid if len(valid) <= length else valid[: length - 1] + "…"


def support_figure(results: Mapping[float, ProbeResult], title: str) -> Figure:
    """Return a figure of score, operations and memory against the temporal support in seconds."""
    figure = Figure(figsize=(9.6, 3.0))
    seconds = list(results)
    metric = next(iter(results.values())).metric
    costs = [result.cost for result in results.values() if result.cost is not None]
    columns = (
        (metric, [result.score for result in results.values()], [result.spread for result in results.values()]),
        ("GFLOP for a clip", [cost.flops / 1e9 for cost in costs], None),
        ("MiB of memory for a window", [cost.memory / 2**20 for cost in costs], None),
    )
    for axes, (name, values, spread) in zip(figure.subplots(1, 3), columns, strict=True):
        axes.errorbar(seconds, values, yerr=spread, fmt="o-", markersize=4, linewidth=1.2, capsize=3)
        axes.set(xscale="log", xlabel="temporal support in seconds", title=name)
        axes.set_xticks(seconds, [f"{value:g}" for value in seconds])
        axes.minorticks_off()
        if spread is None:
            axes.set_ylim(0, 1.1 * max(values))
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    figure.tight_layout()
    return figure


def agreement_figure(measures: Mapping[str, Agreement], title: str) -> Figure:
    """Return a figure of the agreement of encoders with a teacher: a group of bars for each measure.

    Args:
        measures: Agreement by the name of the encoder; the first one is emphasised.
        title: Title of the picture.
    """
    names = ("common neighbours", "recall@1", "recall@10", "R2")
    figure = Figure(figsize=(7.2, 3.4))
    axes = figure.subplots()
    width = 0.8 / len(measures)
    colors = ("tab:blue", "tab:orange", "lightgrey", "tab:green")
    for place, ((name, agreement), color) in enumerate(zip(measures.items(), colors, strict=False)):
        heights = np.nan_to_num(np.array(agreement, dtype=np.float64)).clip(0, 1)
        places = np.arange(len(names)) + (place - (len(measures) - 1) / 2) * width
        axes.bar(places, heights, width, color=color, label=name)
        for x, value, height in zip(places, agreement, heights, strict=True):
            axes.text(x, height + 0.01, "-" if np.isnan(value) else f"{value:.2f}", ha="center", fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(0, 1.08), title=title)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def scores_figure(groups: Mapping[str, Sequence[Entry]]) -> Figure:
    """Return a figure of scores with their 95 % intervals: a panel for each task, a bar for each encoder.

    Args:
        groups: Entries by the title of the task, the best score first. Bars of baselines are grey.
    """
    heights = [0.35 * len(entries) + 0.9 for entries in groups.values()]
    figure = Figure(figsize=(7.2, sum(heights)))
    panels = np.atleast_1d(figure.subplots(len(groups), 1, height_ratios=heights))
    for axes, (title, entries) in zip(panels, groups.items(), strict=True):
        for place, entry in enumerate(reversed(entries)):
            axes.barh(place, entry.score, color="lightgrey" if entry.is_baseline else "tab:blue")
            end = entry.score
            if entry.interval is not None:
                end = max(entry.interval.high, end)
                axes.plot(entry.interval, [place, place], "k-", linewidth=1.2)
            axes.text(end, place, f" {entry.score:.3f}", va="center", fontsize=8)
        axes.set_yticks(range(len(entries)), [entry.name for entry in reversed(entries)], fontsize=8)
        axes.set_title(title, fontsize=9)
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def curve_figure(curves: Mapping[str, Sequence[tuple[int, ProbeResult]]]) -> Figure:
    """Return a figure of scores against steps: a panel for each task, with the baselines as dashed lines.

    Args:
        curves: Step and result of each kept student, in the order of the steps, by the title of the task.
    """
    figure = Figure(figsize=(4.6 * len(curves), 3.4))
    for axes, (title, points) in zip(np.atleast_1d(figure.subplots(1, len(curves))), curves.items(), strict=True):
        steps, scores = [step for step, _ in points], np.array([result.score for _, result in points])
        axes.plot(steps, scores, "o-", color="tab:blue", markersize=4, linewidth=1.2, label="student")
        intervals = [result.interval or (result.score, result.score) for _, result in points]
        axes.fill_between(steps, *zip(*intervals, strict=True), color="tab:blue", alpha=0.15, linewidth=0)
        for number, baseline in enumerate(points[-1][1].baselines):
            axes.axhline(baseline.score, color=f"C{number + 1}", linestyle="--", linewidth=1.0, label=baseline.role)
        axes.set(xlabel="step", ylabel="score")
        axes.set_title(title, fontsize=9)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def comparison_figure(entries: Sequence[Entry], metric: str, title: str) -> Figure:
    """Return a figure of scores against operations, one point for each encoder; its size shows the parameters.

    Args:
        entries: Encoders. Those without a known cost have no point.
        metric: Name of the metric of the scores.
        title: Title of the picture.
    """
    figure = Figure(figsize=(6.4, 4.2))
    axes = figure.subplots()
    for entry in entries:
        if entry.cost is None or entry.cost.flops <= 0:
            continue
        flops = entry.cost.flops / 1e9
        size = 20 + 12 * np.sqrt((entry.cost.parameters or 0) / 1e5)
        axes.errorbar(flops, entry.score, yerr=entry.spread, fmt="none", ecolor="grey", capsize=3, linewidth=0.8)
        axes.scatter(flops, entry.score, s=min(size, 900), alpha=0.6, color="tab:blue" if entry.teachers else "grey")
        axes.annotate(entry.name, (flops, entry.score), textcoords="offset points", xytext=(7, 7), fontsize=8)
    axes.set(xscale="log", xlabel="GFLOP for 10 s of sound", ylabel=metric, title=title)
    axes.margins(x=0.25, y=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
