"""The model card: where a student comes from, what it may be used for, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from distill.students.student import Student
from distill.teachers.teacher import Teacher


def model_card(
    student: Student, teacher: Teacher, config: Mapping[str, Any], results: Mapping[str, float], clips: int
) -> str:
    """README.md of a student, with the front matter that model hubs read."""
    front = {
        "library_name": "audio-distill",
        "pipeline_tag": "feature-extraction",
        "license": "other",
        "license_name": f"that of the teacher's weights: {teacher.licence}",
        "tags": ["audio", "knowledge-distillation", config["teacher"]["class_path"], config["student"]["class_path"]],
    }
    rows = (
        "".join(f"| {name} | {value} |\n" for name, value in results.items()) or "| none | this run measured none |\n"
    )
    return f"""---
{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---

# {config["student"]["class_path"]}, distilled from {config["teacher"]["class_path"]}

| | |
|---|---|
| student | {_named(config["student"])}, {student.parameter_count():,} parameters |
| teacher | {_named(config["teacher"])}, {teacher.parameter_count():,} parameters |
| licence of the teacher's weights | {teacher.licence} |
| where the teacher comes from | {teacher.source} |
| data | {config["data"]}, {clips:,} clips; its licence is that of whoever made it |
| input | mono audio, resampled to {student.sample_rate} Hz |
| output | a vector of {student.clip_dim} per clip; {student.frame_dim} per frame, every {student.frame_hop:.3f} s |

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
{yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)}```
"""


def _named(component: Mapping[str, Any]) -> str:
    return f"{component['class_path']} {component['init_args'] or ''}".strip()
