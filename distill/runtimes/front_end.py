"""A student without its front-end, and the constants of the front-end as a C header, for microcontrollers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from distill.data.audio.filters import mel_filters
from distill.data.audio.mel import LogMel
from distill.data.batch import AudioBatch
from distill.data.errors import UserError
from distill.runtimes.graph import StudentGraph
from distill.students.log_mel import LogMelStudent

_PER_LINE = 8
_FUNCTION = """
/* Compute one log-mel frame from the power spectrum of one window: power[k] is the squared magnitude of bin k of the
   transform of STUDENT_WINDOW_FUNCTION[n] * sample[n], without any other factor. The input of the graph is
   (1, STUDENT_BANDS, frames); frame t begins at sample t * STUDENT_HOP. */
static inline void student_log_mel(const float *power, float *mel) {
    const float *weight = STUDENT_MEL_WEIGHTS;
    for (int band = 0; band < STUDENT_BANDS; band++) {
        float sum = STUDENT_LOG_OFFSET;
        for (int bin = 0; bin < STUDENT_MEL_COUNT[band]; bin++) sum += *weight++ * power[STUDENT_MEL_FIRST[band] + bin];
        mel[band] = logf(sum);
    }
}
"""


class _Given(nn.Module):
    """Stands for the front-end of a student that gets log-mel spectrograms."""

    def __init__(self, mel: LogMel) -> None:
        super().__init__()
        self.window, self.hop, self.offset = mel.window, mel.hop, mel.offset

    def frames(self, frames: Tensor) -> Tensor:
        return frames

    def forward(self, log_mel: Tensor) -> Tensor:
        return log_mel


class _FromLogMel(nn.Module):
    """A student as a function of log-mel spectrograms (batch, bands, time)."""

    inside: Any
    student: Any

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = copy.deepcopy(inside)
        self.student = self.inside.student
        self.student._scale = 1  # part of the window function
        self.student.mel = _Given(self.student.mel)

    def forward(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        clips, _, frames = log_mel.shape
        lengths = torch.full((clips,), frames, dtype=torch.int64)
        batch = AudioBatch(log_mel, lengths, self.student.sample_rate, (), log_mel.new_zeros(clips, 0))
        return self.inside.outputs_of(batch)


def without_front_end(graph: StudentGraph) -> StudentGraph:
    """Return the graph of a student from log-mel spectrograms (1, bands, time) of a fixed length.

    Raises:
        UserError: the student has another front-end.
    """
    student = graph.module.student
    if not isinstance(student, LogMelStudent):
        raise UserError(
            f"--front_end outside: {graph.metadata['name']} has another front-end; only convolutional students work"
        )
    front_end = copy.deepcopy(student.mel)
    scale = float(student._scale)
    metadata = {**graph.metadata, "front_end": "outside"}
    return replace(
        graph,
        module=_FromLogMel(graph.module).eval(),
        metadata=metadata,
        front_end=lambda waveform: front_end(waveform * scale),
    )


def c_header(student: LogMelStudent) -> str:
    """Return the constants of a front-end in C, and the function from a power spectrum to a frame.

    The weights of a band are those from its first to its last bin that is not 0, one band after another. The scale
    of the samples is part of the window function.
    """
    mel = student.mel
    low, high = student.frequency_band
    filters = mel_filters(mel.sums.bands, mel.points, student.sample_rate, low, high, slaney=True)
    first, count, weights = [], [], list[float]()
    for band in filters.T:
        bins = band.nonzero().flatten().tolist() or [0]
        first.append(bins[0])
        count.append(bins[-1] - bins[0] + 1)
        weights += band[bins[0] : bins[-1] + 1].tolist()
    numbers = {
        "SAMPLE_RATE": student.sample_rate, "WINDOW": mel.window, "FFT": mel.points, "HOP": mel.hop,
        "BANDS": mel.sums.bands,
    }  # fmt: skip
    window = (mel.window_function.double() * float(student._scale)).tolist()
    return "\n".join(
        [
            "/* Front-end of a student, written by `distill export --front_end outside`. */",
            "#ifndef STUDENT_FRONT_END_H\n#define STUDENT_FRONT_END_H\n#include <math.h>\n",
            *(f"#define STUDENT_{name} {number}" for name, number in numbers.items()),
            f"#define STUDENT_LOG_OFFSET {mel.offset:.9g}f",
            _array("float", "WINDOW_FUNCTION", [f"{value:.9g}" for value in window]),
            _array("int", "MEL_FIRST", [str(value) for value in first]),
            _array("int", "MEL_COUNT", [str(value) for value in count]),
            _array("float", "MEL_WEIGHTS", [f"{value:.9g}" for value in weights]),
            _FUNCTION,
            "#endif\n",
        ]
    )


def _array(kind: str, name: str, values: Sequence[str]) -> str:
    lines = [", ".join(values[start : start + _PER_LINE]) for start in range(0, len(values), _PER_LINE)]
    return f"static const {kind} STUDENT_{name}[{len(values)}] = {{\n" + ",\n".join(lines) + "};"
