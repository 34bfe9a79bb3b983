"""The comparison of a file with PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run, largest_difference, lengths_of
from distill.runtimes.graph import StudentGraph, graph_of
from tests.students.tiny import tiny_student

Change = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def changed(graph: StudentGraph, name: str, change: Change) -> Run:
    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        with torch.no_grad():
            values = graph.module(torch.from_numpy(waveform))
        found = {key: value.numpy() for key, value in zip(graph.outputs, values, strict=True)}
        return {**found, name: change(found[name])}

    return run


@pytest.fixture(scope="module")
def graph() -> StudentGraph:
    return graph_of(tiny_student("hear_tokenizer"))


def test_five_lengths_from_100_ms_to_30_s(graph: StudentGraph) -> None:
    assert lengths_of(graph) == [1_600, 8_000, 32_000, 116_800, 480_000]


def test_equal_outputs_differ_by_rounding(graph: StudentGraph) -> None:
    assert largest_difference(changed(graph, "clip", lambda clip: clip), graph, [1_600, 8_000]) < 5e-6


def test_a_small_difference_is_returned(graph: StudentGraph) -> None:
    run = changed(graph, "frames", lambda frames: frames + 5e-6 * np.abs(frames).max())
    assert largest_difference(run, graph, [8_000]) == pytest.approx(5e-6, rel=0.2)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("frames", lambda frames: frames * 1.001, "frames of 1 x 0.5 s differs from PyTorch by 1.0e-03"),
        ("clip", lambda clip: clip * np.nan, "by nan"),
        ("clip", lambda clip: clip[:, 1:], "has shape"),
        ("tokens", lambda tokens: tokens + 1, "100.0% of tokens"),
    ],
)
def test_a_large_difference_is_refused(graph: StudentGraph, name: str, change: Change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        largest_difference(changed(graph, name, change), graph, [8_000])


def test_a_runtime_that_fails_is_one_line_with_its_operator(graph: StudentGraph) -> None:
    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        raise RuntimeError("Exception from src/a.cpp:1:\nindices of GatherElements exceed the size")

    with pytest.raises(
        UserError, match=r"the runtime refuses 1 x 0.5 s \(.*GatherElements exceed the size\)"
    ) as raised:
        largest_difference(run, graph, [8_000])
    assert "\n" not in str(raised.value)


def test_a_fixed_length_is_checked_on_three_signals_one_by_one() -> None:
    graph, levels = graph_of(tiny_student("hear_tokenizer"), seconds=0.5), []
    run = changed(graph, "clip", lambda clip: clip)

    def recorded(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        assert waveform.shape == (1, 8_000)
        levels.append(float(np.abs(waveform).max()))
        return run(waveform)

    assert largest_difference(recorded, graph, lengths_of(graph)) < 5e-6
    assert len(levels) == 3
    assert levels[1] == pytest.approx(levels[0] / 1000)
