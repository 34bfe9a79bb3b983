"""The formats of exported students: how each is written and read back."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from distill.data.errors import UserError
from distill.runtimes.check import largest_difference, lengths_of
from distill.runtimes.graph import graph_of
from distill.runtimes.onnx_file import run_onnx_file, write_onnx_file
from distill.students.student import Student


def write_student(student: Student, path: Path, space: str = "") -> str:
    """Write a student as an ONNX file, and compare it with PyTorch before it gets its name.

    Args:
        student: Student to write, on the CPU. It is set to evaluation mode.
        path: File to write.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.

    Returns:
        What was written, and the largest difference, as one line.

    Raises:
        UserError: the student does not answer in the space, the packages for ONNX are missing, the student cannot be
            written as a graph, or the file computes other numbers.
    """
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("ONNX requires more packages: pip install 'audio-distill[onnx]'") from error
    graph = graph_of(student, space)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
        written = Path(folder) / path.name
        write_onnx_file(graph, written)
        lengths = lengths_of(graph)
        difference = largest_difference(run_onnx_file(written), graph, lengths)
        size = written.stat().st_size
        os.replace(written, path)
    seconds = ", ".join(f"{samples / graph.sample_rate:g}" for samples in lengths)
    return (
        f"{path}: {size / 2**20:.1f} MiB; input waveform at {graph.sample_rate} Hz; differs from PyTorch by at most "
        f"{difference:.1e} of the largest number (batches of 1 and 2 clips of {seconds} s)"
    )
