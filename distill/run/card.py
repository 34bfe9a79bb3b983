"""The model card: where a student comes from, what it may be used for, how to load it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import yaml

from distill.data.encoders.registry import Spec
from distill.data.files import plain
from distill.run.options import FitOptions
from distill.students.student import Student
from distill.teachers.teacher import Teacher


def model_card(
    student: Student,
    teachers: Mapping[str, Teacher],
    options: FitOptions,
    results: Mapping[str, float],
    clips: int,
) -> str:
    """Return the README.md of a student, with the front matter that model hubs read.

    Args:
        student: The trained student.
        teachers: Its teachers by name.
        options: Options of the run, with every part's own options written out.
        results: Measured values by name.
        clips: Number of clips that could be used.
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
| student | {_named(specs.student)}, {student.parameter_count():,} parameters |
| objective | {_named(specs.objective)} |
{_teachers(teachers, specs.teachers)}\
| data | {options.data}, {clips:,} clips; its licence is that of whoever made it |
| input | mono audio, resampled to {student.sample_rate} Hz |
| output | a vector of {student.clip_dim} per clip; {student.frame_dim} per frame, every {student.frame_hop:.3f} s |
{_classes(student)}\

## Results

| measure | value |
|---|---|
{rows}
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
    taught = student.licence != type(student).licence
    front = {
        "library_name": "audio-distill",
        "pipeline_tag": "feature-extraction",
        "license": "other",
        "license_name": f"that of the weights it learned from: {student.licence}" if taught else student.licence,
        "tags": ["audio", "knowledge-distillation", *names],
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True)


def inherited_licence(student: Student, teachers: Iterable[Teacher]) -> str:
    """Licences of the weights that a student began from and learned from; the student's own where there are none."""
    terms = student.licence.split("; ") if student.licence != type(student).licence else []
    for teacher in teachers:
        terms += teacher.licence.split("; ")
    return "; ".join(dict.fromkeys(terms)) or student.licence


def _teachers(teachers: Mapping[str, Teacher], specs: Sequence[Spec]) -> str:
    rows = []
    for teacher, spec in zip(teachers.values(), specs, strict=True):
        rows.append(f"| teacher | {_named(spec)}, {teacher.parameter_count():,} parameters |")
        rows.append(f"| licence of the teacher's weights | {teacher.licence} |")
        rows.append(f"| where the teacher comes from | {teacher.source} |")
        if teacher.provenance is not None:
            rows.append(f"| the teacher's weights | {teacher.provenance} |")
    return "".join(row + "\n" for row in rows)


def _classes(student: Student) -> str:
    if not student.labels:
        return ""
    return f"| logits | of {len(student.labels)} classes, in the order of `student.labels` |\n"


def _named(spec: Spec) -> str:
    return f"{spec.name} {plain(spec.options) or ''}".strip()
