"""Inputs of graphs, the same for every runtime."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.teachers.graph import Port
from distill.teachers.graph_runtime import Graph

SAMPLES = Port("waveform", "float32", ("batch", "samples"))


class Doubled(Graph):
    """A graph without a file, which computes what `KINDS` name, twice the input among it."""

    inputs: tuple[Port, ...] = (SAMPLES,)
    outputs = (Port("twice", "float32", ("batch", "samples")),)
    given: Mapping[str, Any] = {}

    def _read(self) -> None:
        self.metadata = {"read": self.path.name}

    def _inner(self) -> list[str]:
        return ["whole", "words", "twice"]

    def _prepare(self, names: Sequence[str]) -> None:
        self.prepared = names

    def _compute(self, feeds: Mapping[str, Any]) -> Sequence[object]:
        self.given = feeds
        twice = feeds["waveform"] * 2
        values = {"twice": twice, "whole": twice.astype(int), "words": ["a"]}
        return [values[name] for name in self.prepared]


def graph(folder: Path, *others: Port) -> Doubled:
    (folder / "file").touch()
    found = Doubled(folder / "file", "here")
    found.inputs = (*others, SAMPLES)
    return found


def test_the_input_has_its_own_type(tmp_path: Path) -> None:
    for kind, expected in (("float", np.float32), ("double", np.float64), ("float16", np.float16)):
        opened = graph(tmp_path)
        opened.inputs = (Port("waveform", kind, None),)
        assert np.array_equal(opened.open(["twice"]).run(np.ones((1, 3), np.float32))[0], np.full((1, 3), 2.0))
        assert opened.given["waveform"].dtype == expected


@pytest.mark.parametrize("kind", ["int16", "complex64", "string", "bfloat16", "bool", "unknown"])
def test_an_input_of_other_numbers_is_refused(kind: str, tmp_path: Path) -> None:
    opened = graph(tmp_path)
    opened.inputs = (Port("waveform", kind, ("n",)),)
    with pytest.raises(UserError, match=rf"here: its input must take floating-point samples; .*waveform {kind} \(n\)"):
        opened.sound_input()


def test_other_inputs_get_the_sample_rate_or_zero(tmp_path: Path) -> None:
    others = [Port("SR", "int64", ()), Port("training", "bool", (1,)), Port("gain", "double", (1, 1))]
    opened = graph(tmp_path, *others).open(["twice"], "waveform", 16_000)
    opened.run(np.ones((1, 3), np.float32))
    found = {name: (value.tolist(), value.dtype.name) for name, value in opened.given.items() if name != "waveform"}
    assert found == {"SR": (16_000, "int64"), "training": ([False], "bool"), "gain": ([[0.0]], "float64")}


@pytest.mark.parametrize(
    ("other", "name", "message"),
    [
        (Port("state", "float32", (2, 64)), None, "one input, of samples, or --teacher.input NAME.*2 inputs: state"),
        (Port("state", "float32", (2, 64)), "waveform", r"it needs state float32 \(2, 64\); only inputs of one number"),
        (Port("state", "float32", ("n",)), "waveform", r"it needs state float32 \(n\)"),
        (Port("text", "string", ()), "waveform", "it needs text string"),
        (Port("sr", "int64", None), "waveform", "it needs sr int64 of unknown shape"),
        (Port("sr", "int64", ()), "sr", "its input must take floating-point samples"),
        (Port("sr", "int64", ()), "nowhere", "--teacher.input nowhere: here has no such input.*2 inputs: sr"),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_given_are_refused(other: Port, name: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        graph(tmp_path, other).open(["twice"], name)


@pytest.mark.parametrize(("name", "kind"), [("whole", "int64"), ("words", "list")])
def test_an_output_of_other_values_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"'{name}' has {kind}, not floating-point numbers; 1 input"):
        graph(tmp_path).open([name]).run(np.ones((1, 3), np.float32))


def test_an_error_of_the_runtime_is_one_line(tmp_path: Path) -> None:
    opened = graph(tmp_path).open(["twice"])
    opened.prepared = ["nowhere"]
    with pytest.raises(UserError, match=r"here: cannot be computed for \(1, 3\) \('nowhere'\)"):
        opened.run(np.ones((1, 3), np.float32))


def test_a_copy_is_opened_again(tmp_path: Path) -> None:
    opened = graph(tmp_path).open(["twice"])
    for twin in (copy.deepcopy(opened), pickle.loads(pickle.dumps(opened))):
        assert twin.run(np.ones((1, 3), np.float32))[0].tolist() == [[2.0, 2.0, 2.0]]
        assert twin is not opened


def test_a_name_that_is_not_there_gets_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tensor 'half'; .*; last inner tensors: whole, words$"):
        graph(tmp_path).open(["half"])


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_missing_file_and_a_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"here: no such file|here: a folder, not a file"):
        Doubled(tmp_path / name, "here")
