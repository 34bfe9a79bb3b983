"""Distil any audio teacher into any small student.

    distill.fit(teacher="ast", student="mobilenet_v3", data="my_sounds/", out="runs/first")
    student = distill.load("runs/first")
    student.embed(waveform, sample_rate=44_100).clip

Public names are imported at their first use, so that `import distill` and `distill --help` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "fit": "distill.commands.fit",
    "embed": "distill.commands.embed",
    "cluster": "distill.commands.cluster",
    "probe": "distill.commands.probe",
    "report": "distill.commands.report",
    "export": "distill.commands.export",
    "load": "distill.api",
    "create_teacher": "distill.api",
    "create_student": "distill.api",
    "list_teachers": "distill.api",
    "list_students": "distill.api",
    "register_teacher": "distill.api",
    "register_student": "distill.api",
    "register_objective": "distill.api",
    "register_loss": "distill.api",
    "AudioBatch": "distill.data.batch",
    "Embeddings": "distill.data.batch",
    "Arithmetic": "distill.run.precision",
    "Windows": "distill.data.encoders.windows",
    "Crop": "distill.data.clips.dataset",
    "Sampling": "distill.data.sampling.weights",
    "Engine": "distill.training.engine",
    "Optimizer": "distill.training.optimizer",
    "UserError": "distill.data.errors",
    "Teacher": "distill.teachers.teacher",
    "Student": "distill.students.student",
    "Objective": "distill.objectives.objective",
    "Frozen": "distill.frozen",
    "Precomputed": "distill.teachers.precomputed",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'distill' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
