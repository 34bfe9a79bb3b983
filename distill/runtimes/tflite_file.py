"""A student as a TensorFlow Lite file, for one clip of a fixed length. The runtime is LiteRT."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, cause_of, silenced
from distill.teachers.graph import TENSORS
from distill.teachers.tflite_metadata import ATTACHED


def write_tflite_file(graph: StudentGraph, path: Path) -> None:
    """Write a student as a TensorFlow Lite file in float32, with the metadata as an attached file.

    Raises:
        UserError: LiteRT refuses the student.
    """
    import litert_torch
    from litert_torch import progress

    progress.config.show_progress = False
    try:
        with silenced(), torch.no_grad():
            litert_torch.convert(graph.module, (graph.example,)).export(str(path))
    except Exception as error:  # the converter raises any error of its own passes
        raise UserError(f"LiteRT refuses the student ({cause_of(error)})") from error
    # The converter names the outputs.
    names = dict(zip(graph.outputs, _outputs(_interpreter(path)), strict=True))
    metadata = {key: names.get(text, text) if key in TENSORS else text for key, text in graph.metadata.items()}
    with zipfile.ZipFile(path, "a") as attached:  # after the graph, as TensorFlow Lite attaches files
        attached.writestr(ATTACHED, json.dumps(metadata))


def run_tflite_file(path: Path, graph: StudentGraph) -> Run:
    """Return what computes the outputs of a TensorFlow Lite file, in LiteRT on the CPU."""
    interpreter = _interpreter(path)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    indices = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    results = [indices[name] for name in _outputs(interpreter)]

    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        interpreter.set_tensor(source, waveform)
        interpreter.invoke()
        values = [interpreter.get_tensor(index) for index in results]
        return dict(zip(graph.outputs, values, strict=True))

    return run


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path), num_threads=torch.get_num_threads())


def _outputs(interpreter: Any) -> list[str]:
    """Return the names of the output tensors, in the order of the function that was converted."""
    return sorted((detail["name"] for detail in interpreter.get_output_details()), key=_number)


def _number(name: str) -> int:
    """Return N of "serving_default_output_N_output"."""
    return int("".join(filter(str.isdigit, name)))
