"""A student as an ONNX file in int8: convolutions and matrix products, after the front-end, with calibrated scales."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph, cause_of
from distill.runtimes.onnx_file import run_onnx_file, write_onnx_file

Clips = Sequence[NDArray[np.float32]]
"""Clips (1, samples) at the rate of the student."""

MAX_ERROR = 0.05  # relative to the largest number of an output
_QUANTISED = ("Conv", "Gemm", "MatMul")
_ROUNDS = 5


class Int8Error(NamedTuple):
    """How an int8 file differs from the same graph in float32, on clips that did not calibrate it.

    Args:
        largest: Largest difference, relative to the largest number of the output over all clips, by output.
        cosine: Lowest cosine of a clip embedding.
        seconds: Median time of a clip, in seconds.
        float_seconds: The same of the float32 file.
    """

    largest: dict[str, float]
    cosine: float
    seconds: float
    float_seconds: float


def write_int8_file(graph: StudentGraph, path: Path, calibration: Clips, checked: Clips) -> Int8Error:
    """Write a student as an ONNX file in int8, with free batch and length.

    Weights have a scale for each output channel, activations one for each tensor (min and max of the calibration).
    The nodes before the logarithm of the mel energies stay in float32, since their range has no bound.

    Args:
        graph: The student.
        path: File to write.
        calibration: Clips that set the scales of the activations.
        checked: Other clips, on which the file is compared with float32.

    Raises:
        UserError: the student cannot be written as ONNX, or an output differs by more than 5 % of its largest number.
    """
    exact, fused = path.with_name("float.onnx"), path.with_name("fused.onnx")
    write_onnx_file(graph, exact)
    try:
        _fuse(exact, fused)
        _quantise(fused, path, calibration)
        _state(graph, path)
        error = _compare(run_onnx_file(path), run_onnx_file(exact), checked)
    finally:
        for file in (exact, fused):
            file.unlink(missing_ok=True)
    for name, largest in error.largest.items():
        if not largest <= MAX_ERROR:  # also for NaN
            raise UserError(
                f"--int8: {name!r} differs from float32 by {largest:.1%} of its largest number (lowest cosine of a "
                f"clip {error.cosine:.4f}); at most {MAX_ERROR:.0%} is allowed: export this student in float32"
            )
    return error


def _fuse(source: Path, path: Path) -> None:
    """Fuse batch normalisation into convolutions, so that both are quantised as one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _quantise(source: Path, path: Path, calibration: Clips) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.clips: Iterator[NDArray[np.float32]] = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            clip = next(self.clips, None)
            return None if clip is None else {"waveform": clip}

    logging.getLogger().addFilter(_is_error)  # it advises another preparation
    try:
        quantize_static(
            str(source), str(path), Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=list(_QUANTISED),
            per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            nodes_to_exclude=front_end_nodes(onnx.load(source)),
        )  # fmt: skip
    except Exception as error:  # onnxruntime raises any error of its own passes
        raise UserError(f"onnxruntime cannot quantise the student ({cause_of(error)})") from error
    finally:
        logging.getLogger().removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def front_end_nodes(model: Any) -> list[str]:
    """Return the names of the nodes from the waveform to the first logarithm. Empty without a logarithm."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    first = next((node for node in model.graph.node if node.op_type == "Log"), None)
    found: dict[str, None] = {}
    waiting = [] if first is None else [first]
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found[node.name] = None
            waiting += [made_by[name] for name in node.input if name in made_by]
    return list(found)


def _state(graph: StudentGraph, path: Path) -> None:
    """Write the metadata into a file."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    for name, text in {**graph.metadata, "quantisation": "int8"}.items():
        model.metadata_props.add(key=name, value=text)
    path.write_bytes(model.SerializeToString())


def _compare(run: Run, exact: Run, clips: Clips) -> Int8Error:
    differences: dict[str, float] = {}
    largest: dict[str, float] = {}
    cosines, times = list[float](), list[tuple[float, float]]()
    for clip in clips:
        found, expected = run(clip), exact(clip)
        for name, value in expected.items():
            if value.size and value.dtype.kind == "f":
                difference = float(np.abs(np.subtract(found[name], value, dtype=np.float64)).max())
                differences[name] = max(differences.get(name, 0.0), difference)
                largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max()))
        cosines.append(_cosine(found["clip"], expected["clip"]))
        times += [(_seconds(run, clip), _seconds(exact, clip)) for _ in range(_ROUNDS)]
    mine, theirs = (statistics.median(taken) for taken in zip(*times, strict=True))
    errors = {name: difference / max(largest[name], 1e-12) for name, difference in differences.items()}
    return Int8Error(errors, min(cosines), mine, theirs)


def _cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float((one * other).sum() / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-12))


def _seconds(run: Run, clip: NDArray[np.float32]) -> float:
    begin = time.perf_counter()
    run(clip)
    return time.perf_counter() - begin
