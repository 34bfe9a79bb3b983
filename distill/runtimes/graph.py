"""A trained student as a function of one tensor, which torch.export traces."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from distill.data.batch import AudioBatch
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
    """

    module: nn.Module
    outputs: tuple[str, ...]
    sample_rate: int
    longest: int | None
    metadata: Mapping[str, str]

    @property
    def shortest(self) -> int:
        """Fewest samples of a clip."""
        return round(SHORTEST_SECONDS * self.sample_rate)

    def samples(self, seconds: float) -> int:
        """Return the number of samples of a clip, at most the longest."""
        return min(round(seconds * self.sample_rate), self.longest or round(seconds * self.sample_rate))

    def traced(self) -> ExportedProgram:
        """Trace the student, with free batch and length. Raises UserError if it cannot be traced."""
        # torch finds the range. It excludes lengths at which an inner dimension is 1, though the graph is valid.
        free = (torch.export.Dim.AUTO(min=1), torch.export.Dim.AUTO(min=self.shortest))
        shapes = {"waveform": dict(enumerate(free))}
        example = torch.zeros(2, self.samples(_EXAMPLE_SECONDS))
        try:
            with silenced(), torch.no_grad():
                return torch.export.export(
                    self.module, (example,), dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
                )
        except Exception as error:  # torch.export raises any error of the traced code and of its own passes
            name = type(self.module.student).__name__
            raise UserError(f"{name} cannot be written as a graph ({first_line(error)})") from error


def graph_of(student: Student, space: str = "") -> StudentGraph:
    """Return a student as a function of one tensor.

    Args:
        student: The student, on the CPU. It is set to evaluation mode.
        space: Name of the teacher in whose space "clip" lies. Empty: the student's own embedding.

    Raises:
        UserError: the student does not answer in the space.
    """
    projection = space_of(student.spaces, space) if space else nn.Identity()
    longest = _longest_samples(student)
    module = _FromWaveform(student.eval(), projection)
    outputs = ("clip", "frames", "logits", "tokens")[: 4 if module.has_tokens else 3]
    return StudentGraph(module, outputs, student.sample_rate, longest, _metadata(student, longest))


def _longest_samples(student: Student) -> int | None:
    """Return the most samples of a clip that the student encodes whole, since a graph has no windows. None: any."""
    rate = student.sample_rate
    if student.windows.seconds:
        # Two tokens less than a window: a graph cannot branch on the last ones.
        return int(student.windows.seconds * rate) - rate // 25
    return int(student.whole_seconds * rate) if student.whole_seconds < Student.whole_seconds else None


def _metadata(student: Student, longest: int | None) -> dict[str, str]:
    """Return what a file states about a student. Frames have the times that they have in a clip of two seconds."""
    rate = student.sample_rate
    longest_seconds = None if longest is None else longest / rate
    found = student.embed(torch.randn(1, min(2 * rate, longest or 2 * rate)) * 0.1, rate)
    times = found.frame_times.double()
    has_frames = len(times) > 1
    facts = GraphFacts(
        sample_rate=rate, output="clip", frames="frames" if has_frames else None,
        logits="logits" if found.logits.shape[1] else None, labels=student.labels or None, level="none",
        window_seconds=longest_seconds or 0.0, shortest_seconds=SHORTEST_SECONDS, longest_seconds=longest_seconds,
        frame_hop=round(float(times.diff().mean()), _DIGITS) if has_frames else None,
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

    def __init__(self, student: Student, projection: nn.Module) -> None:
        super().__init__()
        self.student, self.projection = student, projection
        self.head = student.classifier.head if student.classifier else None  # a graph holds what is a child module
        self.has_tokens = isinstance(student, HearTokenizer)

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        clips, samples = waveform.shape
        lengths = torch.full((clips,), samples, dtype=torch.int64)
        batch = AudioBatch(waveform, lengths, self.student.sample_rate, (), waveform.new_zeros(clips, 0))
        embeddings = self.student.classified(self.student.encode(batch))
        outputs = (self.projection(embeddings.clip), embeddings.frames, embeddings.logits)
        if isinstance(self.student, HearTokenizer):
            return (*outputs, self.student.to_codes(embeddings.frames).argmax(2))
        return outputs


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
