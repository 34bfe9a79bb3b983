"""`distill export`: write a trained student as an ONNX graph, from waveform to embeddings."""

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
from distill.students.spaces import space_of
from distill.students.student import Student
from distill.teachers.graph import GraphFacts

_EXAMPLE_SECONDS = 20
_SHORTEST_SECONDS = 0.5
OUTPUTS = ("clip", "frames", "logits")


def export(model: str = "", out: str = "", allow_import: str | None = None, space: str = "") -> None:
    """Write a trained student as one ONNX file, for clips of half a second or longer.

    A student with windows cuts long clips (`hear_classifier`: 30 s). Its graph takes clips of at most one window.

    The metadata of the file state the sample rate and more, so that `--teacher onnx` needs no other option.

    The input is "waveform", float32 (1, samples) in [-1, 1], at the student's sample rate. The outputs are "clip"
    (1, clip_dim), "frames" (1, time, frame_dim) and "logits" (1, classes).

    Args:
        model: Trained student: a run folder, a student folder or a hub id.
        out: File to write. Its name must end in ".onnx".
        allow_import: Package from which the student's own class may be imported. None: no package.
        space: Name of a teacher of the student, in whose space "clip" lies. Empty: the student's own embedding.

    Raises:
        UserError: there is no such student, it does not answer in the space, the packages for ONNX are missing, or the
            graph cannot be written.
    """
    if not model or not out.endswith(".onnx"):
        raise UserError("--model RUN and --out FILE.onnx are required")
    student = load_student(model, allow_import)
    write_onnx(student, Path(out), space)
    print(f"{out}: {Path(out).stat().st_size / 2**20:.1f} MiB; input waveform at {student.sample_rate} Hz")


def write_onnx(student: Student, path: Path, space: str = "") -> None:
    """Write a student as an ONNX file.

    Args:
        student: Student to write, on the CPU. It is set to evaluation mode.
        path: File to write.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.

    Raises:
        UserError: the student does not answer in the space, the packages for ONNX are missing, or the student cannot be
            written as a graph.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("ONNX requires more packages: pip install 'audio-distill[onnx]'") from error
    projection = space_of(student.spaces, space) if space else nn.Identity()
    rate, window_seconds = student.sample_rate, student.windows.seconds
    # Two tokens less than a window: a graph cannot branch on the last ones.
    max_samples = int(window_seconds * rate) - rate // 25 if window_seconds else None
    # The example is longer than the input of one attention window. Otherwise the graph would fit that length alone.
    waveform = torch.randn(1, min(_EXAMPLE_SECONDS * rate, max_samples or _EXAMPLE_SECONDS * rate)) * 0.1
    # torch finds the range. It excludes lengths at which an inner dimension becomes 1, though the graph is valid there.
    samples = torch.export.Dim.AUTO(min=round(_SHORTEST_SECONDS * rate))
    try:
        with _quiet(), torch.no_grad():
            graph = torch.export.export(
                _FromWaveform(student.eval(), projection), (waveform,), dynamic_shapes={"waveform": {1: samples}},
                prefer_deferred_runtime_asserts_over_guards=True,
            )  # fmt: skip
            program = torch.onnx.export(
                graph, dynamo=True, verbose=False, input_names=["waveform"], output_names=list(OUTPUTS)
            )
    except Exception as error:  # torch.export raises any error of the traced code and of its own passes
        raise UserError(f"{type(student).__name__} cannot be written as a graph ({first_line(error)})") from error
    assert program is not None
    model = program.model_proto
    for name, text in _facts(student, waveform, max_samples).as_metadata().items():
        model.metadata_props.add(key=name, value=text)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(model.SerializeToString()))


def _facts(student: Student, waveform: Tensor, max_samples: int | None) -> GraphFacts:
    """Return what the file states about the graph of a student. Times of frames are those of `waveform`."""
    rate = student.sample_rate
    longest = None if max_samples is None else max_samples / rate
    found = student.embed(waveform, rate)
    times = found.frame_times.double()
    has_frames = len(times) > 1
    return GraphFacts(
        sample_rate=rate, output="clip", frames="frames" if has_frames else None,
        logits="logits" if found.logits.shape[1] else None, labels=student.labels or None, level="none",
        window_seconds=longest or 0.0, shortest_seconds=_SHORTEST_SECONDS, longest_seconds=longest,
        frame_hop=round(float(times.diff().mean()), 9) if has_frames else None,
        first_frame=round(float(times[0]), 9) if has_frames else None, licence=student.licence,
    )  # fmt: skip


class _FromWaveform(nn.Module):
    """A student as a function of one tensor, which an ONNX graph requires."""

    def __init__(self, student: Student, projection: nn.Module) -> None:
        super().__init__()
        self.student, self.projection = student, projection
        self.head = student.classifier.head if student.classifier else None  # a graph holds what is a child module

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        clips, samples = waveform.shape
        lengths = torch.full((clips,), samples, dtype=torch.int64)
        batch = AudioBatch(waveform, lengths, self.student.sample_rate, (), waveform.new_zeros(clips, 0))
        embeddings = self.student.classified(self.student.encode(batch))
        return self.projection(embeddings.clip), embeddings.frames, embeddings.logits


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, and switch off torch's fused layers, which ONNX does not support."""
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
