"""A student as a model of OpenVINO: an .xml file, and a .bin file of weights beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, cause_of
from distill.runtimes.onnx_file import write_onnx_file

SECTION = "audio_distill"  # of the metadata


def write_openvino_file(graph: StudentGraph, path: Path) -> None:
    """Write a student for OpenVINO, in float32, with free batch and length. It is converted from ONNX.

    Raises:
        UserError: the student cannot be written as a graph, or OpenVINO refuses an operator.
    """
    import openvino

    source = path.with_name("source.onnx")
    write_onnx_file(graph, source)
    try:
        model = openvino.convert_model(source)
        for name, text in graph.metadata.items():
            model.set_rt_info(text, [SECTION, name])
        openvino.save_model(model, path, compress_to_fp16=False)
    except Exception as error:  # OpenVINO raises classes of its own
        raise UserError(f"OpenVINO refuses the student ({cause_of(error)})") from error
    finally:
        source.unlink()


def run_openvino_file(path: Path) -> Run:
    """Return what computes the outputs of a model of OpenVINO on the CPU, in float32."""
    import openvino

    compiled: Any = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        found = compiled({"waveform": waveform})
        return {output.get_any_name(): found[output] for output in compiled.outputs}

    return run
