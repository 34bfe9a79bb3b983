"""The commands and the components, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from distill.data.encoders.registry import Registry, suggest
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.teachers import TEACHERS

COMMANDS = {
    "fit": "train a student: distil a teacher into it",
    "embed": "run a teacher or a trained student over audio, into an embedding store",
    "cluster": "cluster a store by k-means, with a report",
    "probe": "score an encoder on labelled clips: linear, mlp, knn or fine-tuned",
    "export": "write a trained student as one ONNX file",
    "report": "draw a run, or compare runs: scores, retention, costs",
    "list": "list teachers, students, objectives, losses: with licence, sample rate and source of the weights",
}
COMPONENTS: dict[str, Registry[Any]] = {"teacher": TEACHERS, "student": STUDENTS, "objective": OBJECTIVES}


def function_of(command: str) -> Callable[..., Any]:
    """Return the function of a command."""
    return getattr(import_module(f"distill.commands.{command}"), command)


def parameters_of(command: str) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a command by name, which are its options."""
    return inspect.signature(function_of(command)).parameters


def components_of(command: str) -> list[str]:
    """Return the kinds of components that a command takes, in the order of its help."""
    return [name for name in COMPONENTS if name in parameters_of(command)]


def import_path(component: str, name: str) -> str:
    """Return the import path of a component's class, which jsonargparse requires.

    Args:
        component: Kind of the component: "teacher", "student" or "objective".
        name: Registered name, or import path of a class.

    Raises:
        UserError: the name is unknown, or the class cannot be imported.
    """
    registry = COMPONENTS[component]
    if "." not in name and name not in registry.names():
        raise UserError(f"unknown {component} {name!r}; {suggest(name, registry.names())}")
    found: Any = registry.find(name)
    return f"{found.__module__}.{found.__qualname__}"
