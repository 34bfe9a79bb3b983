"""A trained student as a function of one tensor, which torch.export traces."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from distill.data.batch import AudioBatch, Embeddings
from distill.data.errors import UserError, first_line
from distill.students import STUDENTS
from distill.students.hear.students import HearTokenizer
from distill.students.saved import weights_of
from distill.students.spaces import space_of
from distill.students.student import Student
from distill.teachers.graph import GraphFacts

SHORTEST_SECONDS = 0.1
_EXAMPLE_SECONDS = 20  # more than the attention window of HEAR: otherwise the graph would fit that length alone
_DIGITS = 9  # of times in the metadata


@dataclass(frozen=True)
class StudentGraph:
    """A student as a function from waveform to outputs.

    Args:
        module: Maps "waveform" (batch, samples), float32, to the outputs.
        outputs: Names of the outputs. "clip" (batch, clip_dim), "frames" (batch, time, frame_dim) and "logits"
            (batch, classes) are float32; "tokens" (batch, time), of a tokenizer, is int64.
        sample_rate: In Hz.
        longest: Most samples of a clip. None: any number.
        metadata: What a file states about the student, as text by name.
        fixed: Samples of the only clip that the graph takes. None: any number of clips of any length.
        front_end: Computes the input of the module from clips (batch, samples), if it is outside of the graph.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    sample_rate: int
    longest: int | None
    metadata: Mapping[str, str]
    fixed: int | None = None
    front_end: Callable[[Tensor], Tensor] | None = None

    @property
    def shortest(self) -> int:
        """Fewest samples of a clip."""
        return round(SHORTEST_SECONDS * self.sample_rate)

    def samples(self, seconds: float) -> int:
        """Return the number of samples of a clip, at most the longest."""
        return min(round(seconds * self.sample_rate), self.longest or round(seconds * self.sample_rate))

    @property
    def example(self) -> Tensor:
        """The input for silent clips of a size that the graph takes."""
        return self.input(torch.zeros(1, self.fixed) if self.fixed else torch.zeros(2, self.samples(_EXAMPLE_SECONDS)))

    def input(self, waveform: Tensor) -> Tensor:
        """Return the input of the module for clips (batch, samples)."""
        return waveform if self.front_end is None else self.front_end(waveform)

    def traced(self) -> ExportedProgram:
        """Trace the student, with free batch and length unless they are fixed.

        Raises:
            UserError: it cannot be traced.
        """
        # torch finds the range. It excludes lengths at which an inner dimension is 1, though the graph is valid.
        free = (torch.export.Dim.AUTO(min=1), torch.export.Dim.AUTO(min=self.shortest))
        shapes = None if self.fixed else {"waveform": dict(enumerate(free))}
        try:
            with silenced(), torch.no_grad():
                return torch.export.export(
                    self.module,
                    (self.example,),
                    dynamic_shapes=shapes,
                    prefer_deferred_runtime_asserts_over_guards=True,
                )
        except Exception as error:  # torch.export raises any error of the traced code and of its own passes
            name = type(self.module.student).__name__
            raise UserError(f"{name} cannot be written as a graph ({cause_of(error)})") from error


def graph_of(student: Student, space: str = "", seconds: float = 0.0) -> StudentGraph:
    """Return a student as a function of one tensor.

    Args:
        student: The student, on the CPU. It is set to evaluation mode.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.
        seconds: Length of the only clip that the graph takes. 0: any number of clips of any length. An output without
            columns is left out of such a graph, since the runtimes that need it have no empty tensors.

    Raises:
        UserError: the student does not answer in the space, or takes no clips of this length.
    """
    projection = space_of(student.spaces, space) if space else nn.Identity()
    rate, longest = student.sample_rate, _longest_samples(student)
    fixed = round(seconds * rate) or None
    if fixed and not SHORTEST_SECONDS * rate <= fixed <= (longest or fixed):
        most = f" and at most {longest / rate:g}" if longest else ""
        raise UserError(f"--seconds {seconds:g}: must be at least {SHORTEST_SECONDS}{most}")
    found = student.eval().embed(torch.randn(1, min(fixed or 2 * rate, longest or 2 * rate)) * 0.1, rate)
    outputs = ["clip", "frames", "logits", *(["tokens"] if isinstance(student, HearTokenizer) else [])]
    if fixed and not found.logits.shape[1]:
        outputs.remove("logits")
    module = _FromWaveform(student, projection, outputs).eval()
    metadata = _metadata(student, found, fixed or longest, fixed)
    return StudentGraph(module, tuple(outputs), rate, longest, metadata, fixed)


def _longest_samples(student: Student) -> int | None:
    """Return the most samples of a clip that the student encodes whole, since a graph has no windows. None: any."""
    rate = student.sample_rate
    if student.windows.seconds:
        # Two tokens less than a window: a graph cannot branch on the last ones.
        return int(student.windows.seconds * rate) - rate // 25
    return int(student.whole_seconds * rate) if student.whole_seconds < Student.whole_seconds else None


def _metadata(student: Student, found: Embeddings, longest: int | None, fixed: int | None) -> dict[str, str]:
    """Return what a file states about a student.

    Args:
        student: The student.
        found: Embeddings of a clip of two seconds, or of the fixed length. They have the times that are stated.
        longest: Most samples of a clip. None: any number.
        fixed: Samples of each clip. None: any number.
    """
    rate = student.sample_rate
    longest_seconds = None if longest is None else longest / rate
    times = found.frame_times.double()
    has_frames = len(times) > 1
    facts = GraphFacts(
        sample_rate=rate, output="clip", frames="frames" if has_frames else None,
        logits="logits" if found.logits.shape[1] else None, labels=student.labels or None, level="none",
        window_seconds=longest_seconds or 0.0, shortest_seconds=fixed / rate if fixed else SHORTEST_SECONDS,
        longest_seconds=longest_seconds, frame_hop=round(float(times.diff().mean()), _DIGITS) if has_frames else None,
        first_frame=round(float(times[0]), _DIGITS) if has_frames else None, licence=student.licence,
    )  # fmt: skip
    return {
        **facts.as_metadata(),
        "name": STUDENTS.name_of(type(student)),
        "version": version("audio-distill"),
        "clip_dim": str(found.clip.shape[1]),
        "frame_dim": str(found.frames.shape[2]),
        "teacher": ", ".join(student.teachers),
        "frequency_band": json.dumps(student.frequency_band),
        **({"classifier": json.dumps(student.classifier.as_config())} if student.classifier else {}),
        "sha256": hashlib.sha256(weights_of(student)).hexdigest(),
    }


class _FromWaveform(nn.Module):
    """A student as a function of one tensor, which a graph requires."""

    def __init__(self, student: Student, projection: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.student, self.projection, self.outputs = student, projection, tuple(outputs)
        self.head = student.classifier.head if student.classifier else None  # a graph holds what is a child module

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        clips, samples = waveform.shape
        lengths = torch.full((clips,), samples, dtype=torch.int64)
        batch = AudioBatch(waveform, lengths, self.student.sample_rate, (), waveform.new_zeros(clips, 0))
        return self.outputs_of(batch)

    def outputs_of(self, batch: AudioBatch) -> tuple[Tensor, ...]:
        """Return the outputs for a batch at the rate of the student."""
        embeddings = self.student.classified(self.student.encode(batch))
        found = {"clip": self.projection(embeddings.clip), "frames": embeddings.frames, "logits": embeddings.logits}
        if isinstance(self.student, HearTokenizer):
            found["tokens"] = self.student.to_codes(embeddings.frames).argmax(2)
        return tuple(found[name] for name in self.outputs)


def cause_of(error: BaseException) -> str:
    """Return the first line of the error that caused the others. It names the operator; the others name passes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def silenced() -> Iterator[None]:
    """Silence warnings of exporters, and switch off torch's fused layers, which graphs do not support."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
