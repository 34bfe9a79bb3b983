"""Figures of results: the drawn values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from distill.evaluation.calibration import reliability
from distill.evaluation.cost import Cost
from distill.evaluation.pictures import (
    GROUP_COLOURS,
    comparison_figure,
    confusion_figure,
    map_figure,
    reliability_figure,
    support_figure,
)
from distill.evaluation.plane import Grouping, Plane
from distill.evaluation.results import Entry, ProbeResult

COST = Cost(10.0, 1_000_000, 2 * 10**9, 0.1, 3 * 2**20, "1 thread")
RESULT = ProbeResult("linear", "auto", "accuracy", 0.5, 0.1, {}, [0.5], {}, 10, 2, cost=COST)
BETTER = replace(RESULT, score=0.75, cost=replace(COST, flops=8 * 10**9))


def test_a_confusion_matrix_shows_shares_of_each_row_and_counts() -> None:
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ["cat", "dog"], "linear")
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    assert [text.get_text() for text in axes.texts] == ["3", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog"]
    many = confusion_figure(np.eye(13, dtype=np.int64), [str(number) for number in range(13)], "")
    assert not many.axes[0].texts  # numbers would overlap


def test_score_and_cost_stand_against_the_temporal_support() -> None:
    score, flops, memory = support_figure({0.5: RESULT, 2.0: BETTER}, "title").axes
    assert score.get_title() == "accuracy"
    for axes, expected in ((score, [0.5, 0.75]), (flops, [2, 8]), (memory, [3, 3])):
        assert axes.lines[0].get_xdata().tolist() == [0.5, 2]
        assert axes.lines[0].get_ydata().tolist() == pytest.approx(expected)


def test_each_encoder_is_a_point_of_operations_and_score() -> None:
    teacher = Entry("teacher", 0.5, 0.1, None, "t", {}, COST, False)
    student = replace(teacher, name="student", score=0.75, teachers={"one": "t"}, cost=BETTER.cost)
    axes = comparison_figure([teacher, student, replace(teacher, cost=None)], "accuracy", "title").axes[0]
    points = [tuple(points.get_offsets()[0]) for points in axes.collections if len(points.get_offsets()) == 1]
    assert (2.0, 0.5) in points
    assert (8.0, 0.75) in points
    assert [text.get_text() for text in axes.texts] == ["teacher", "student"]


def test_reliability_has_a_line_for_each_calibration_beside_the_diagonal() -> None:
    confidence, truth = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    measured = reliability(confidence, truth, None, "one of")
    upper, lower = reliability_figure({"before:": measured, "after:": measured}, "title").axes
    lines = [np.array(line.get_xydata()) for line in upper.lines]
    assert len(lines) == 3
    assert lines[0].tolist() == [[0, 0], [1, 1]]
    points = lines[1][~np.isnan(lines[1]).any(1)]
    np.testing.assert_allclose(points, [[0.6, 0.0], [0.9, 1.0]])
    assert upper.get_legend().get_texts()[1].get_text() == f"after: calibration error {measured.error:.3f}"
    assert lower.get_xlabel() == "probability"


def test_a_map_has_a_panel_for_each_grouping_and_any_name_in_its_legend() -> None:
    positions = np.arange(8.0).reshape(4, 2)
    labels = Grouping.of(["$x_$", "_y", "$x_$", ""])
    figure = map_figure(Plane(positions, "PCA"), {"label": labels, "split": Grouping.of(["a", "a", "b", "b"])}, "$a_$")
    figure.canvas.draw()
    left, right = figure.axes
    assert [text.get_text().strip() for text in left.get_legend().get_texts()] == ["$x_$", "_y", "none"]
    grey, second, first = left.collections
    assert first.get_offsets().tolist() == positions[[0, 2]].tolist()
    assert second.get_offsets().tolist() == positions[[1]].tolist()
    assert [to_hex(points.get_facecolor()[0]) for points in (first, second, grey)] == [*GROUP_COLOURS[:2], "#dddddd"]
    assert right.get_title() == "by split"
    assert len(set(GROUP_COLOURS)) == 20
