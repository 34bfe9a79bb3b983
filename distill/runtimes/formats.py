"""The formats of exported students: how each is written and read back."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from distill.data.errors import UserError, require_one_of
from distill.runtimes.check import Run, largest_difference, lengths_of
from distill.runtimes.front_end import c_header, without_front_end
from distill.runtimes.graph import StudentGraph, graph_of
from distill.runtimes.int8_file import Clips, write_int8_file
from distill.runtimes.onnx_file import run_onnx_file, write_onnx_file
from distill.runtimes.openvino_file import run_openvino_file, write_openvino_file
from distill.runtimes.pte_file import run_pte_file, write_pte_file
from distill.runtimes.tflite_file import run_tflite_file, write_tflite_file
from distill.runtimes.torch_files import open_safetensors, run_pt2_file, write_pt2_file, write_safetensors_file
from distill.students.log_mel import LogMelStudent
from distill.students.student import Student


@dataclass(frozen=True)
class Format:
    """A format of files.

    Args:
        suffix: End of the name of a file.
        write: Writes a student, and files beside the first one if the format needs them.
        run: Returns what computes the outputs of a file. The student is that which was written.
        packages: Modules that it needs.
        extra: Optional extra of this package that installs them.
        fixed: Whether its files take one clip of a fixed length.
    """

    suffix: str
    write: Callable[[StudentGraph, Path], None]
    run: Callable[[Path, StudentGraph], Run]
    packages: tuple[str, ...] = ()
    extra: str = ""
    fixed: bool = False

    def require_packages(self, name: str) -> None:
        """Raise UserError if a package is missing."""
        if any(find_spec(package) is None for package in self.packages):
            raise UserError(f"--format {name} requires more packages: pip install 'audio-distill[{self.extra}]'")


INSIDE = "inside"  # of the graph
_FIXED_SECONDS = 2.0
_ONNX = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    "onnx": Format(".onnx", write_onnx_file, lambda path, _: run_onnx_file(path), _ONNX, "onnx"),
    "openvino": Format(
        ".xml", write_openvino_file, lambda path, _: run_openvino_file(path), (*_ONNX[:2], "openvino"), "openvino"
    ),
    "pt2": Format(".pt2", write_pt2_file, lambda path, graph: run_pt2_file(path, graph.outputs)),
    "safetensors": Format(".safetensors", write_safetensors_file, open_safetensors),
    "tflite": Format(
        ".tflite", write_tflite_file, run_tflite_file, ("litert_torch", "ai_edge_litert"), "tflite_export", fixed=True
    ),
    "pte": Format(".pte", write_pte_file, run_pte_file, ("executorch",), "pte", fixed=True),
}


def format_of(path: Path, name: str = "") -> str:
    """Return the name of the format of a file.

    Args:
        path: File to write.
        name: Name that the user gave. Empty: the suffix of the file decides.

    Raises:
        UserError: the format is unknown, or the file has the suffix of another one.
    """
    if name:
        require_one_of("--format", name, FORMATS)
    suffixes = {name: FORMATS[name].suffix} if name else {key: value.suffix for key, value in FORMATS.items()}
    found = [key for key, suffix in suffixes.items() if path.name.endswith(suffix)]
    if not found:
        raise UserError(f"--out {path}: must end in {' or '.join(suffixes.values())}")
    return found[0]


def write_student(
    student: Student, path: Path, space: str = "", name: str = "", seconds: float | None = None, front_end: str = INSIDE
) -> str:
    """Write a student as a file, and compare it with PyTorch before it gets its name.

    Args:
        student: Student to write, on the CPU. It is set to evaluation mode.
        path: File to write.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.
        name: Name of the format. Empty: the suffix of the file decides.
        seconds: Length of the clips of a format whose files take one length. None: 2 s.
        front_end: "inside", or "outside" for a format whose files take one length: the input is a log-mel spectrogram
            (1, bands, time), and a C header with the constants of the front-end lies beside the file.

    Returns:
        What was written, and the largest difference, as one line.

    Raises:
        UserError: the student does not answer in the space, packages are missing, the student cannot be written as a
            graph, or the file computes other numbers.
    """
    name = format_of(path, name)
    FORMATS[name].require_packages(name)
    graph = graph_of(student, space, _fixed_seconds(name, seconds))
    if outside := _is_outside(front_end, name):
        graph = without_front_end(graph)
    with _replacing(path) as written:
        FORMATS[name].write(graph, written)
        if outside:
            assert isinstance(student, LogMelStudent)
            written.with_name(f"{path.stem}_front_end.h").write_text(c_header(student))
        lengths = lengths_of(graph)
        difference = largest_difference(FORMATS[name].run(written, graph), graph, lengths)
        size = sum(file.stat().st_size for file in written.parent.iterdir())
    checked = ", ".join(f"{samples / graph.sample_rate:g}" for samples in lengths)
    return (
        f"{path}: {size / 2**20:.1f} MiB; input {'log-mel' if outside else 'waveform'} at {graph.sample_rate} Hz; "
        f"differs from PyTorch by at most {difference:.1e} of the largest number "
        f"({'three clips' if graph.fixed else 'batches of 1 and 2 clips'} of {checked} s)"
    )


def write_int8_student(student: Student, path: Path, calibration: Clips, checked: Clips, space: str = "") -> str:
    """Write a student as an ONNX file in int8, and compare it with float32 before it gets its name.

    Args:
        student: Student to write, on the CPU. It is set to evaluation mode.
        path: File to write.
        calibration: Clips that set the scales of the activations.
        checked: Other clips, on which the file is compared.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.

    Returns:
        What was written, and the differences, as one line.

    Raises:
        UserError: packages are missing, the student cannot be written, or an output differs by more than 5 % of its
            largest number.
    """
    FORMATS["onnx"].require_packages("onnx")
    graph = graph_of(student, space)
    with _replacing(path) as written:
        error = write_int8_file(graph, written, calibration, checked)
    outputs = ", ".join(f"{name} {largest:.1%}" for name, largest in error.largest.items())
    return (
        f"{path}: {path.stat().st_size / 2**20:.1f} MiB; input waveform at {graph.sample_rate} Hz; int8, calibrated on "
        f"{len(calibration)} clips; on {len(checked)} others it differs from float32 by at most ({outputs}) of the "
        f"largest number, lowest cosine {error.cosine:.4f}; {1000 * error.seconds:.1f} ms a clip, float32 "
        f"{1000 * error.float_seconds:.1f} ms"
    )


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a name in a temporary folder. Its files get their names beside `path` if no error is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as folder:
        written = Path(folder) / path.name
        yield written
        for file in sorted(Path(folder).iterdir(), key=lambda file: file == written):  # the named one last
            os.replace(file, path.with_name(file.name))


def _is_outside(front_end: str, name: str) -> bool:
    """Return whether the front-end is left out. Raise UserError if the format does not allow it."""
    require_one_of("--front_end", front_end, (INSIDE, "outside"))
    if front_end == "outside" and not FORMATS[name].fixed:
        raise UserError("--front_end outside: only tflite and pte files are written without their front-end")
    return front_end == "outside"


def _fixed_seconds(name: str, seconds: float | None) -> float:
    """Return the length of the clips of a format. 0: free."""
    if FORMATS[name].fixed:
        return _FIXED_SECONDS if seconds is None else seconds
    if seconds is not None:
        fixed = " and ".join(key for key, kind in FORMATS.items() if kind.fixed)
        raise UserError(f"--seconds {seconds:g}: only {fixed} have a fixed length; --format {name} takes any length")
    return 0.0
