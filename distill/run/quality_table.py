"""The quality of a student as values, and as lines, JSON, a picture and rows of the model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distill.data.files import finite
from distill.evaluation.cost import Cost
from distill.evaluation.quality import Agreement, Recalls
from distill.evaluation.results import MEL, UNTRAINED

_MIN_CLIPS = 3
_FEW_HELD_OUT = 50  # of 19, in one run of each, two of three students agreed better than untrained and probed worse
_MAX_COSINE = 0.95  # a higher mean cosine of two clips is that of a nearly constant embedding
_MIN_RANK = 3.0


class Sensitivity(NamedTuple):
    """Relative distance of embeddings before and after a change: 0 without effect, 1 like another clip.

    Args:
        gain: For a gain of -6 dB.
        noise: For white noise at a signal-to-noise ratio of 20 dB.
        shift: For 50 ms of silence before the clip.
    """

    gain: float
    noise: float
    shift: float


@dataclass(frozen=True)
class CropMatches:
    """How often the second half of a clip is nearest to its first half, among the second halves of all clips.

    Args:
        clips: Number of clips.
        teacher: Share of the clips in the teacher's space.
        mel: Share of the clips in the space of mel statistics.
        standard_error: Of the difference of the two shares.
    """

    clips: int
    teacher: float
    mel: float
    standard_error: float

    @property
    def little_to_distil(self) -> bool:
        """Whether halves of a clip are as near in mel statistics as in the teacher's space, within a standard error."""
        return self.mel >= self.teacher - self.standard_error


@dataclass(frozen=True)
class EncoderQuality:
    """Measures of one encoder. A measure is NaN if it cannot be computed.

    Args:
        agreements: Agreement with each teacher, in the order of the teachers.
        effective_rank: Effective rank of the embeddings.
        mean_cosine: Mean cosine of two different clips.
        sensitivity: Sensitivity to small changes of the sound.
        cost: Cost of one clip. None: not measured.
    """

    agreements: tuple[Agreement, ...]
    effective_rank: float
    mean_cosine: float
    sensitivity: Sensitivity
    cost: Cost | None


@dataclass(frozen=True)
class TeacherQuality:
    """Measures of one teacher.

    Args:
        name: Name of the teacher in the run.
        effective_rank: Effective rank of the embeddings; NaN if it cannot be computed.
        mean_cosine: Mean cosine of two different clips.
        usable: Whether the embeddings are finite and differ between clips.
        crops: Comparison with mel statistics on two crops of each clip. None: the teacher cannot be run.
        cost: Cost of one clip. None: the teacher cannot be run.
    """

    name: str
    effective_rank: float
    mean_cosine: float
    usable: bool
    crops: CropMatches | None
    cost: Cost | None


@dataclass(frozen=True)
class QualityReport:
    """The quality of a student, beside mel statistics and the untrained student.

    Without labels the report cannot state whether the student is better than mel statistics: `distill probe` can.

    Args:
        held_out: Number of held-out clips that were measured.
        clips: Number of all clips: the held-out clips, and training clips as further neighbours.
        student: Measures of the trained student.
        mel: Measures of mel statistics.
        untrained: Measures of the student with random weights.
        teachers: Measures of the teachers.
        answers: Recalls of the student's vectors in the space of each teacher, by its name.
    """

    held_out: int
    clips: int
    student: EncoderQuality
    mel: EncoderQuality
    untrained: EncoderQuality
    teachers: tuple[TeacherQuality, ...]
    answers: Mapping[str, Recalls] = field(default_factory=dict)

    @property
    def encoders(self) -> Mapping[str, EncoderQuality]:
        """Student, mel statistics and the untrained student, by their names in tables."""
        return {"student": self.student, MEL: self.mel, UNTRAINED: self.untrained}

    def lines(self) -> list[str]:
        """Return the lines for the terminal: shares of common neighbours, a table, and an alarm if there is one."""
        widths = (32, 20, 20, 20, 18)
        rows = [(f"{self.held_out:,} held-out clips among {self.clips:,}", *self.columns), *self.rows()]
        table = ["".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
        return [*self.summary(), *table, *self.warnings()]

    def summary(self) -> list[str]:
        """Return a line for each teacher: the share of its neighbours that the student keeps, or why it is unknown."""
        if not self.clips:
            return ["no clip could be read: the quality of the student was not measured"]
        if not self.teachers:
            return ["quality of the student, which has no teacher to compare with"]
        if not self.held_out:
            return ["no held-out clips: the agreement with the teacher was not measured; --validation holds clips out"]
        return [self._kept(number, teacher) for number, teacher in enumerate(self.teachers)]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of a table: the name of a measure, then a cell for each encoder and each single teacher."""
        rows: list[tuple[str, ...]] = []
        agreements = [mean_agreement(encoder.agreements) for encoder in self.encoders.values()]
        if self.teachers and self.held_out:
            mean = ", mean of teachers" if len(self.teachers) > 1 else ""
            rows.append(("own vector, recall@1 / @10" + mean, *(_cell(a.recall_1, a.recall_10) for a in agreements)))
            rows += [(f"  in the space of {name}", _cell(*found)) for name, found in self.answers.items()]
            rows.append(("R2 of a ridge regression" + mean, *(_cell(a.r2) for a in agreements)))
        measured: list[EncoderQuality | TeacherQuality] = [*self.encoders.values(), *self._single_teacher]
        rows.append(("effective rank", *(_cell(one.effective_rank, digits=1) for one in measured)))
        rows.append(("mean cosine of two clips", *(_cell(one.mean_cosine) for one in measured)))
        changes = (_cell(*encoder.sensitivity) for encoder in self.encoders.values())
        rows.append(("change by gain / noise / shift", *changes))
        costs = [one.cost for one in measured]
        seconds = next((cost.seconds for cost in costs if cost is not None), 0)
        rows.append(("parameters", *(_parameters(cost) for cost in costs)))
        rows.append((f"million MACs, {seconds:g} s", *(_operations(cost) for cost in costs)))
        rows.append((f"milliseconds, {seconds:g} s", *("" if c is None else f"{c.latency * 1e3:,.3g}" for c in costs)))
        return rows

    def warnings(self) -> list[str]:
        """Return lines for teachers with little to distil, for few clips, and an alarm if the student is not usable."""
        lines = [
            f"perhaps little to distil from {teacher.name}: crops of a clip match in mel statistics "
            f"({_percent(teacher.crops.mel)}) as in its space ({_percent(teacher.crops.teacher)})"
            for teacher in self.teachers
            if teacher.crops is not None and teacher.crops.little_to_distil
        ]
        if self.teachers and self.clips >= _MIN_CLIPS and 0 < self.held_out < _FEW_HELD_OUT:
            lines.append(
                f"{self.held_out} held-out clips do not show whether the student is better than untrained: "
                "`distill probe` does"
            )
        return [*lines, f"ALARM: {self.alarm}"] if self.alarm else lines

    @property
    def alarm(self) -> str:
        """Reason why the student is not usable, and a remedy; empty if there is none."""
        student = self.student
        if self.clips < _MIN_CLIPS:
            return ""
        if math.isnan(student.mean_cosine):
            return "the student's embeddings are not finite. Try a lower learning rate."
        for teacher in self.teachers:
            if not teacher.usable:
                return f"nothing can be learned from {teacher.name}: {_unusable(teacher)}. Try another teacher."
        if student.mean_cosine > _MAX_COSINE:
            return (
                f"the embedding is nearly constant (mean cosine {student.mean_cosine:.4f}). "
                "Try more steps or another student."
            )
        if student.effective_rank < _MIN_RANK <= self.mel.effective_rank:
            return (
                f"the rank of the embedding collapsed to {student.effective_rank:.1f}. "
                "Try another student or another objective."
            )
        for ours, mel, untrained in zip(*(encoder.agreements for encoder in self.encoders.values()), strict=True):
            for keeps, baseline in (("mel statistics keep", mel), ("the untrained student keeps", untrained)):
                if ours.neighbours <= baseline.neighbours:
                    return (
                        f"nothing useful was learned: no more of the teacher's neighbours than {keeps}. "
                        "Try more steps, another student or another teacher."
                    )
        return ""

    @property
    def _single_teacher(self) -> tuple[TeacherQuality, ...]:
        """The teacher if there is one only, which has a column in the table."""
        return self.teachers if len(self.teachers) == 1 else ()

    @property
    def columns(self) -> list[str]:
        """Names of the encoders in the columns of the table."""
        return [*self.encoders, *(f"teacher {teacher.name}"[:20] for teacher in self._single_teacher)]

    def _kept(self, number: int, teacher: TeacherQuality) -> str:
        """Return the line of one teacher in the summary."""
        shares = [encoder.agreements[number].neighbours for encoder in self.encoders.values()]
        if self.clips < _MIN_CLIPS:
            return f"{self.clips} clips are too few to compare neighbours: at least {_MIN_CLIPS} are required"
        if not teacher.usable:
            return f"neighbours of {teacher.name} cannot be compared: {_unusable(teacher)}"
        if math.isnan(shares[0]):
            return "neighbours cannot be compared: the student's embeddings are not finite"
        whose = f"the neighbours of {teacher.name}" if len(self.teachers) > 1 else "the teacher's neighbours"
        kept, mel, untrained = map(_percent, shares)
        return f"keeps {kept} of {whose} ({MEL} {mel}, {UNTRAINED} {untrained})"

    def as_json(self) -> str:
        """Return all measures as JSON. A measure that is not finite becomes null."""
        return json.dumps(finite(asdict(self)), indent=2)

    def draw(self, path: Path) -> None:
        """Draw the agreement with the teachers as a PNG file. Without teachers, no file is written."""
        from distill.evaluation.pictures import agreement_figure
        from distill.run.pictures import save_figure

        if self.teachers:
            measures = {name: mean_agreement(encoder.agreements) for name, encoder in self.encoders.items()}
            title = f"agreement with {' and '.join(teacher.name for teacher in self.teachers)}"
            save_figure(agreement_figure(measures, f"{title}, {self.held_out:,} held-out clips"), path)


def mean_agreement(agreements: Sequence[Agreement]) -> Agreement:
    """Return the mean of each measure over the teachers; NaN without teachers."""
    return Agreement(*np.mean(agreements or [Agreement(*[math.nan] * 4)], axis=0).tolist())


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _cell(*values: float, digits: int = 2) -> str:
    """Return numbers as the text of a cell; "-" for NaN."""
    return " / ".join("-" if math.isnan(value) else f"{value:.{digits}f}" for value in values)


def _parameters(cost: Cost | None) -> str:
    return "" if cost is None else "unknown" if cost.parameters is None else f"{cost.parameters:,}"


def _unusable(teacher: TeacherQuality) -> str:
    """Return why the embeddings of a teacher are not usable."""
    if math.isnan(teacher.mean_cosine):
        return "its embeddings are not finite"
    return "its embedding is the same for every clip"


def _operations(cost: Cost | None) -> str:
    """Return the millions of multiply-accumulate operations. PyTorch does not see those of other runtimes."""
    if cost is None:
        return ""
    return f"{cost.flops / 2e6:,.3g}" if cost.flops else "unknown"
