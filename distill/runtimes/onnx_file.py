"""A student as an ONNX file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, cause_of, silenced


def write_onnx_file(graph: StudentGraph, path: Path) -> None:
    """Write a student as an ONNX file, with free batch and length.

    Raises:
        UserError: the student cannot be written as a graph.
    """
    traced = graph.traced()
    try:
        with silenced(), _quiet(), torch.no_grad():
            # Without optimisation: one of its rules takes 1e-8 for 0, and so removes it from a square root.
            program = torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=["waveform"], output_names=list(graph.outputs),
                optimize=False,
            )  # fmt: skip
            assert program is not None
            _simplify(program.model)
    except Exception as error:  # the exporter raises any error of its own passes
        raise UserError(f"the student cannot be written as ONNX ({cause_of(error)})") from error
    model = program.model_proto
    for name, text in graph.metadata.items():
        model.metadata_props.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())


def run_onnx_file(path: Path) -> Run:
    """Return what computes the outputs of an ONNX file, in ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(waveform: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        return dict(zip(names, session.run(names, {"waveform": waveform}), strict=True))

    return run


def _simplify(model: Any) -> None:
    """Compute constants, and keep one of equal nodes and tensors. No result changes."""
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential
    from onnxscript.optimizer import fold_constants

    fold_constants(model)
    Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.RemoveUnusedOpsetsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.OutputFixPass(),
        passes.NameFixPass(),
    )(model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loggers of the exporter."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
