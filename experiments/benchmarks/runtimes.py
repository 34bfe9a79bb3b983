"""Every student as a file of every runtime: difference from PyTorch, size, and time for a clip of 2 s.

    python experiments/benchmarks/runtimes.py [FOLDER] [STUDENT | RUN ...]

A STUDENT has random weights, a RUN those of its training. None: all students. The files are written to FOLDER and
reused, so a second run measures the times alone.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from measure import seconds_of, write_section
from torch.export import ExportedProgram

import distill
from distill.data.errors import UserError
from distill.runtimes import formats
from distill.runtimes.graph import StudentGraph, graph_of
from distill.students import STUDENTS
from distill.students.student import Student

OPTIONS = {"patch_transformer": {"hidden": 192, "layers": 12, "heads": 3}}  # ViT-Tiny: the default has 85 M weights
RUNTIMES = {"onnx": "x.onnx", "openvino": "x.xml", "pt2": "x.pt2"}
SECONDS = 2.0
_ROUNDS = 15


class TracedOnce(StudentGraph):
    """A graph that several formats share, since tracing takes up to a minute."""

    @cache  # noqa: B019
    def traced(self) -> ExportedProgram:
        return super().traced()

    def __hash__(self) -> int:
        return id(self)


def students(words: list[str]) -> dict[str, Callable[[], Student]]:
    """Return what builds each student, by its name in the table."""
    names = [name for name in STUDENTS.names() if STUDENTS.location(name) is not None]
    return {
        (name if name in names else f"{distill.load(name).spec.name}, trained"): (
            (lambda name=name: distill.create_student(name, **OPTIONS.get(name, {})))
            if name in names
            else (lambda name=name: distill.load(name))
        )
        for name in words or names
    }


def written(graph: StudentGraph, folder: Path) -> dict[str, str]:
    """Write the files of a student. Return the largest difference, or the reason of a failure, by format."""
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "found.json"
    found: dict[str, str] = json.loads(record.read_text()) if record.exists() else {}
    for name, file in RUNTIMES.items():
        if name not in found:
            try:
                kind = formats.FORMATS[name]
                kind.write(graph, folder / file)
                run = kind.run(folder / file, graph)
                difference = formats.largest_difference(run, graph, formats.lengths_of(graph))
                found[name] = f"{difference:.0e}"
            except UserError as error:
                found[name] = str(error)
            record.write_text(json.dumps(found))
            print(folder.name, name, found[name], flush=True)
    return found


def size(folder: Path, name: str) -> float:
    """Return MiB of the files of a format."""
    stem = Path(RUNTIMES[name])
    files = [folder / stem, *([folder / "x.bin"] if name == "openvino" else [])]
    return sum(file.stat().st_size for file in files) / 2**20


def milliseconds(functions: list[Callable[[], object]]) -> list[float]:
    """Return the median time of each function, in ms. They run in turns."""
    for function in functions:
        function()
    rounds = [[seconds_of(function) for function in functions] for _ in range(_ROUNDS)]
    return [1000 * statistics.median(taken) for taken in zip(*rounds, strict=True)]


def row(name: str, graph: StudentGraph, folder: Path) -> str:
    """Return the row of a student: weights, then difference, MiB and ms of each format."""
    found = written(graph, folder)
    waveform = torch.randn(1, graph.samples(SECONDS)) * 0.1
    good = [format for format, text in found.items() if text[0].isdigit()]
    runs = {format: formats.FORMATS[format].run(folder / RUNTIMES[format], graph) for format in good}

    @torch.no_grad()
    def eager() -> object:
        return graph.module(waveform)

    calls = [eager, *(lambda run=run: run(waveform.numpy()) for run in runs.values())]
    taken = dict(zip(["eager", *good], milliseconds(calls), strict=True))
    cells = [
        f"{found[key]}, {size(folder, key):.1f} MiB, {taken[key]:.1f} ms" if key in good else "no" for key in RUNTIMES
    ]
    weights = sum(weight.numel() for weight in graph.module.parameters()) / 1e6
    return f"| `{name}` | {weights:.2f} M | {taken['eager']:.1f} ms | {' | '.join(cells)} |"


def main(folder: Path | None = None, words: list[str] | None = None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        rows = []
        for name, build in students(words or []).items():
            made = graph_of(build())
            graph = TracedOnce(**vars(made))
            rows.append(row(name, graph, (folder or Path(temporary)) / name.replace(", ", "_")))
            print(rows[-1], flush=True)
        head = ["| student | weights | eager | " + " | ".join(RUNTIMES) + " |", "|" + "---|" * (3 + len(RUNTIMES))]
        write_section("Runtimes", [*(__doc__ or "").strip().splitlines()[:1], "", *head, *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None, sys.argv[2:])
