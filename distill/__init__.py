"""Distil any audio teacher into any small student.

    distill.fit(teacher="ast", student="mobilenet_v3", data="my_sounds/", out="runs/first")
    student = distill.load("runs/first")
    student.embed(waveform, sample_rate=44_100).clip

Public names are imported at their first use, so that `import distill` and `distill --help` are fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from distill.adapters.auto_registering import register_with_transformers
from distill.run.memory import keep_freed_memory

if TYPE_CHECKING:  # a type checker sees the names that `__getattr__` imports late
    from distill.api import create_student as create_student
    from distill.api import create_teacher as create_teacher
    from distill.api import list_students as list_students
    from distill.api import list_teachers as list_teachers
    from distill.api import load as load
    from distill.api import register_loss as register_loss
    from distill.api import register_objective as register_objective
    from distill.api import register_student as register_student
    from distill.api import register_teacher as register_teacher
    from distill.commands.cluster import cluster as cluster
    from distill.commands.embed import embed as embed
    from distill.commands.evaluate import evaluate as evaluate
    from distill.commands.export import export as export
    from distill.commands.fit import fit as fit
    from distill.commands.predict import predict as predict
    from distill.commands.probe import probe as probe
    from distill.commands.push import push as push
    from distill.commands.rank import rank as rank
    from distill.commands.report import report as report
    from distill.commands.search import search as search
    from distill.commands.store import store as store
    from distill.data.audio.frames import frame_mask as frame_mask
    from distill.data.audio.mel import LogMel as LogMel
    from distill.data.batch import AudioBatch as AudioBatch
    from distill.data.batch import Embeddings as Embeddings
    from distill.data.clips.dataset import Crop as Crop
    from distill.data.clips.sources import Data as Data
    from distill.data.clips.views import Views as Views
    from distill.data.encoders.contract import check_contract as check_contract
    from distill.data.encoders.windows import Windows as Windows
    from distill.data.encoders.windows import by_length as by_length
    from distill.data.errors import UserError as UserError
    from distill.data.sampling.weights import Sampling as Sampling
    from distill.frozen import Frozen as Frozen
    from distill.objectives.objective import Objective as Objective
    from distill.run.precision import Arithmetic as Arithmetic
    from distill.runtimes.exported import ExportedStudent as ExportedStudent
    from distill.students.student import Student as Student
    from distill.teachers.precomputed import Precomputed as Precomputed
    from distill.teachers.teacher import Teacher as Teacher
    from distill.training.engine import Engine as Engine
    from distill.training.optimizer import Optimizer as Optimizer

_MODULES = {
    "fit": "distill.commands.fit",
    "embed": "distill.commands.embed",
    "store": "distill.commands.store",
    "cluster": "distill.commands.cluster",
    "probe": "distill.commands.probe",
    "push": "distill.commands.push",
    "rank": "distill.commands.rank",
    "report": "distill.commands.report",
    "search": "distill.commands.search",
    "evaluate": "distill.commands.evaluate",
    "predict": "distill.commands.predict",
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
    "Views": "distill.data.clips.views",
    "Windows": "distill.data.encoders.windows",
    "by_length": "distill.data.encoders.windows",
    "check_contract": "distill.data.encoders.contract",
    "LogMel": "distill.data.audio.mel",
    "frame_mask": "distill.data.audio.frames",
    "Crop": "distill.data.clips.dataset",
    "Data": "distill.data.clips.sources",
    "Sampling": "distill.data.sampling.weights",
    "Engine": "distill.training.engine",
    "Optimizer": "distill.training.optimizer",
    "UserError": "distill.data.errors",
    "Teacher": "distill.teachers.teacher",
    "Student": "distill.students.student",
    "ExportedStudent": "distill.runtimes.exported",
    "Objective": "distill.objectives.objective",
    "Frozen": "distill.frozen",
    "Precomputed": "distill.teachers.precomputed",
}
__all__ = sorted(_MODULES)


if not TYPE_CHECKING:  # where a misspelt name is an error

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'distill' has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__


keep_freed_memory()  # so that Python is as fast as the command line
register_with_transformers()
