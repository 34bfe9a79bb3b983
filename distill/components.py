"""From what a user wrote — a name, a mapping, an object — to a component, and back to something that can be saved."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from distill.data.encoder import Encoder
from distill.data.errors import UserError
from distill.data.registry import Registry
from distill.students.student import Student
from distill.teachers.teacher import Teacher

T = TypeVar("T")
_BASES: dict[str, type] = {"teacher": Teacher, "student": Student}
Spec = str | Mapping[str, Any]  # a name, or {"class_path": name, "init_args": {...}} as in YAML


def normalise(spec: Any, registry: Registry[Any]) -> dict[str, Any]:
    """The mapping that names a component: {"class_path": name, "init_args": options}.

    Raises:
        UserError: the mapping has other keys.
    """
    if isinstance(spec, str):
        return {"class_path": spec, "init_args": {}}
    if isinstance(spec, Mapping):
        if not {"class_path"} <= spec.keys() <= {"class_path", "init_args"}:
            raise UserError(
                f"{registry.kind}: a name or {{class_path: NAME, init_args: ...}} is wanted, got {dict(spec)}"
            )
        component = registry.find(spec["class_path"])
        name = registry.name_of(component) if isinstance(component, type) else spec["class_path"]
        return {"class_path": name, "init_args": dict(spec.get("init_args") or {})}
    return {"class_path": registry.name_of(type(spec)), "init_args": plain(getattr(spec, "options", {}))}


def complete(named: Mapping[str, Any], registry: Registry[Any], given: set[str]) -> dict[str, Any]:
    """The same mapping with every option that was left to its default; `given` are no options."""
    parameters = inspect.signature(registry.find(named["class_path"])).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in given and p.default is not p.empty}
    return {"class_path": named["class_path"], "init_args": plain({**defaults, **named["init_args"]})}


def build(spec: Any, registry: Registry[T], **given: Any) -> T:
    """The component itself; an object is taken as it is. `given` are arguments that no user writes."""
    if isinstance(spec, str | Mapping):
        named = normalise(spec, registry)
        spec = registry.create(named["class_path"], **given, **named["init_args"])
    base: Any = _BASES.get(registry.kind, object)
    if not isinstance(spec, base):
        raise UserError(f"a {type(spec).__name__} is no {registry.kind}: a distill.{base.__name__} is wanted")
    return spec


def several(spec: Any) -> list[Any]:
    """One component or a list of them, as a list."""
    return list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]


def build_named(specs: Any, registry: Registry[T]) -> dict[str, T]:
    """One component or several by name: that of its class, with a number where it occurs again."""
    components: dict[str, T] = {}
    for component in (build(spec, registry) for spec in several(specs)):
        name = registry.name_of(type(component)).rpartition(".")[2]
        free, number = name, 1
        while free in components:
            number += 1
            free = f"{name}_{number}"
        components[free] = component
    return components


def describe(role: str, name: str, encoder: Encoder) -> str:
    """What an encoder is and where its weights came from, for the terminal and the log."""
    frames = f"frame {encoder.frame_dim} every {encoder.frame_hop:.3f} s" if encoder.frame_hop else "no frames"
    line = (
        f"{role}: {name}, {encoder.parameter_count():,} parameters, {encoder.sample_rate} Hz, "
        f"clip {encoder.clip_dim}, {frames}"
    )
    if role == "teacher":
        line += f", licence: {encoder.licence}"
    return f"{line}\n  weights: {encoder.provenance}" if encoder.provenance else line


def plain(value: Any) -> Any:
    """A JSON value that stands for `value`: numbers, strings, lists and mappings as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, torch.nn.Module):
        return type(value).__name__
    return str(value)
