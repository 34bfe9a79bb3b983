"""The model card: origin, licence and use of a trained student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import yaml

from distill.data.encoders.registry import Spec
from distill.data.errors import listed
from distill.data.files import plain
from distill.run.encoders import parameters_text
from distill.run.options import FitOptions
from distill.run.quality_table import QualityReport
from distill.students.decisions import ONE_OF
from distill.students.student import Student
from distill.teachers.teacher import Teacher


def model_card(
    student: Student,
    teachers: Mapping[str, Teacher],
    options: FitOptions,
    results: Mapping[str, float],
    clips: int,
    quality: QualityReport | None = None,
) -> str:
    """Return the README.md of a student, with the front matter that model hubs read.

    Args:
        student: Trained student.
        teachers: Teachers by name; empty for a student that was trained without one.
        options: Options of the run. The options of every part must be complete.
        results: Measured values by name; empty if the run measured none.
        clips: Number of readable clips.
        quality: Quality of the student without labels. None: not measured.
    """
    specs = options.specs()
    rows = (
        "".join(f"| {name} | {value} |\n" for name, value in results.items()) or "| none | this run measured none |\n"
    )
    return f"""---
{_front_matter(student, [*teachers, specs.student.name])}---

# {specs.student.name}, {"distilled from " + " and ".join(teachers) if teachers else "trained"}

| | |
|---|---|
| student | {_spec_text(specs.student)}, {student.parameter_count():,} parameters |
| objective | {_spec_text(specs.objective)} |
{_teacher_rows(teachers, specs.teachers)}\
| data | {options.data}, {clips:,} clips; its own licence applies |
| input | mono audio, resampled to {student.sample_rate} Hz |
| output | a vector of {student.clip_dim} per clip; {student.frame_dim} per frame, every {student.frame_hop:.3f} s |
{_logits_row(student)}\

## Results

| measure | value |
|---|---|
{rows}{_quality(quality)}
A probe of this student: `distill probe --model RUN --data LABELLED`.

## Use

```python
import distill

student = distill.load("RUN_OR_THIS_FOLDER")
embeddings = student.embed(waveform, sample_rate=44_100)  # waveform: (samples,) or (batch, samples)
embeddings.clip, embeddings.frames, embeddings.frame_times
```

## Recipe

```yaml
{yaml.safe_dump(options.as_config(), sort_keys=False, allow_unicode=True)}```
"""


def _front_matter(student: Student, names: Sequence[str]) -> str:
    """Return the YAML that model hubs read; `names` become tags."""
    is_inherited = student.licence != type(student).licence
    front = {
        "library_name": "audio-distill",
        "pipeline_tag": "feature-extraction",
        "license": "other",
        "license_name": f"that of the weights it learned from: {student.licence}" if is_inherited else student.licence,
        "tags": ["audio", "knowledge-distillation", *names],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def inherited_licence(student: Student, teachers: Iterable[Teacher]) -> str:
    """Return the licences that apply to the weights of a student, joined by "; ".

    They are those of its initial weights and of its teachers. Without any of them it is the licence of the student.
    """
    licences = student.licence.split("; ") if student.licence != type(student).licence else []
    for teacher in teachers:
        licences += teacher.licence.split("; ")
    return "; ".join(dict.fromkeys(licences)) or student.licence


def _teacher_rows(teachers: Mapping[str, Teacher], specs: Sequence[Spec]) -> str:
    """Return the rows of the table that describe the teachers."""
    rows = []
    for teacher, spec in zip(teachers.values(), specs, strict=True):
        rows.append(f"| teacher | {_spec_text(spec)}, {parameters_text(teacher)} |")
        rows.append(f"| licence of the teacher's weights | {teacher.licence} |")
        rows.append(f"| source of the teacher | {teacher.source} |")
        if teacher.provenance is not None:
            rows.append(f"| the teacher's weights | {teacher.provenance} |")
    return "".join(row + "\n" for row in rows)


def _logits_row(student: Student) -> str:
    """Return the row of the table that describes the logits; empty for a student without classes."""
    if not student.labels:
        return ""
    row = f"| logits | of {len(student.labels)} classes, in the order of `student.labels` |\n"
    if student.classifier is None:
        return row
    text = "each clip has one of them (softmax)" if student.classifier.kind == ONE_OF else "several or none (sigmoid)"
    names = listed(student.labels)
    calibrated = f"temperature {student.classifier.temperature:.3g}" if student.classifier.thresholds else "none"
    return f"{row}| classes | {text}: {names} |\n| calibration of the logits | {calibrated} |\n"


def _quality(quality: QualityReport | None) -> str:
    """Return the paragraph and the table of the quality without labels; empty if it was not measured."""
    if quality is None:
        return ""
    rows = [("measure", *quality.columns), ("---",) * (1 + len(quality.columns)), *quality.rows()]
    table = "".join(f"| {' | '.join((*row, *[''] * (len(rows[0]) - len(row))))} |\n" for row in rows)
    text = "\n".join([*quality.summary(), *quality.warnings()])
    return f"""
Quality without labels, on {quality.held_out:,} held-out clips among {quality.clips:,}:
{text}

{table}"""


def _spec_text(spec: Spec) -> str:
    """Return the name and the options of a part as text."""
    return f"{spec.name} {plain(spec.options) or ''}".strip()
