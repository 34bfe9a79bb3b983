"""`distill export`: a trained student for other runtimes, waveform in, embeddings out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.data.batch import AudioBatch
from distill.data.errors import UserError, first_line
from distill.data.files import write_atomically
from distill.students.saved import load_student
from distill.students.student import Student

_SECONDS = 20
OUTPUTS = ("clip", "frames", "logits")


def export(model: str = "", out: str = "", allow_import: str | None = None) -> None:
    """Write a trained student as one ONNX file: a clip of any length from half a second on.

    A student that cuts long clips (`hear_classifier`: beyond its positions, 30 s) takes no longer ones here.

    Input "waveform", float32 (1, samples) in [-1, 1], at the student's sample rate. Outputs "clip" (1, clip_dim),
    "frames" (1, time, frame_dim) and "logits" (1, classes).

    Args:
        model: Trained student: a run folder, a student folder or a hub id.
        out: File to write, such as student.onnx.
        allow_import: Package of the student's own class that may be imported.

    Raises:
        UserError: no such student, the packages for ONNX are missing, or the student cannot be written as a graph.
    """
    if not model or not out.endswith(".onnx"):
        raise UserError("--model RUN and --out FILE.onnx are wanted")
    student = load_student(model, allow_import)
    write_onnx(student, Path(out))
    print(f"{out}: {Path(out).stat().st_size / 2**20:.1f} MiB; input waveform at {student.sample_rate} Hz")


def write_onnx(student: Student, path: Path) -> None:
    """Write a student as ONNX. Raises UserError."""
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("ONNX needs more packages: pip install 'audio-distill[onnx]'") from error
    rate, longest = student.sample_rate, student.windows.seconds
    # Two tokens less than the student takes: a graph cannot branch on the last.
    most = int(longest * rate) - rate // 25 if longest else None
    # Longer than what attention sees at once, or the graph would be one for that.
    waveform = torch.randn(1, min(_SECONDS * rate, most or _SECONDS * rate)) * 0.1
    # torch finds the range: it leaves out lengths at which a dimension inside becomes 1, but the graph holds there too.
    samples = torch.export.Dim.AUTO(min=rate // 2)
    try:
        with _quiet(), torch.no_grad():
            graph = torch.export.export(
                _FromWaveform(student.eval()), (waveform,), dynamic_shapes={"waveform": {1: samples}},
                prefer_deferred_runtime_asserts_over_guards=True,
            )  # fmt: skip
            program = torch.onnx.export(
                graph, dynamo=True, verbose=False, input_names=["waveform"], output_names=list(OUTPUTS)
            )
    except Exception as error:  # torch.export raises whatever the traced code and its own passes raise
        raise UserError(f"{type(student).__name__} cannot be written as a graph ({first_line(error)})") from error
    assert program is not None
    model = program.model_proto.SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(model))


class _FromWaveform(nn.Module):
    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clips, samples = waveform.shape
        lengths = torch.full((clips,), samples, dtype=torch.int64)
        batch = AudioBatch(waveform, lengths, self.student.sample_rate, (), waveform.new_zeros(clips, 0))
        embeddings = self.student.encode(batch)
        return embeddings.clip, embeddings.frames, embeddings.logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes, and without torch's fused layers, which no graph has."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
