"""The components of a command line: a written name becomes the import path that jsonargparse requires."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from distill.cli.commands import parameters_of
from distill.cli.words import Option
from distill.data.encoders.registry import Registry, suggest
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.students import STUDENTS
from distill.teachers import TEACHERS

COMPONENTS: dict[str, Registry[Any]] = {"teacher": TEACHERS, "student": STUDENTS, "objective": OBJECTIVES}


class Resolved(NamedTuple):
    """Options whose components are named by import paths.

    Args:
        options: Options in the order of the command line.
        packages: Packages that the user names in them, which permits importing their classes.
    """

    options: list[Option]
    packages: set[str]


def resolve(written: Sequence[Option]) -> Resolved:
    """Replace the names of components by their import paths.

    If the user names a package, it is also searched for in the working directory, so that it need not be installed.

    Args:
        written: Options as the user wrote them.

    Raises:
        UserError: a name is unknown, or a class cannot be imported.
    """
    packages = _named_packages(written)
    if packages:
        sys.path.append(os.getcwd())
    return Resolved([_with_import_path(option) for option in written], packages)


def import_path(component: str, name: str) -> str:
    """Return the import path of a component's class.

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


def components_of(command: str) -> list[str]:
    """Return the kinds of components that a command takes, in the order of its help."""
    return [name for name in COMPONENTS if name in parameters_of(command)]


def default_components(command: str, options: Sequence[Option]) -> list[Option]:
    """Return the default components of which only options are given.

    Without a default, a configuration file may name the component.

    Args:
        command: Name of the command.
        options: Options as given in the command line.

    Raises:
        UserError: nothing names the component of an option.
    """
    chosen = {_component(option) for option in options}
    has_file = any(option.name == "--config" for option in options)
    defaults = []
    for component in components_of(command):
        own = [option.name for option in options if option.name.startswith(f"--{component}.")]
        if not own or component in chosen:
            continue
        name = parameters_of(command)[component].default
        if isinstance(name, str) and name:
            defaults.append(Option(f"--{component}", import_path(component, name)))
        elif not has_file:
            raise UserError(f"{own[0]}: --{component} NAME must come before it")
    return defaults


def _component(option: Option) -> str | None:
    """Return the kind of the component that an option names: "teacher" for --teacher, --teacher+ and --teacher.help."""
    kind = option.name.removeprefix("--").removesuffix(".help").removesuffix("+")
    return kind if kind in COMPONENTS else None


def _with_import_path(option: Option) -> Option:
    """Return an option with the import path of the component that it names. Other options are not changed."""
    kind = _component(option)
    return option._replace(value=import_path(kind, option.value)) if kind and option.value else option


def _named_packages(options: Sequence[Option]) -> set[str]:
    """Return the packages of the classes that options name by import path, and those of --allow_import."""
    paths = [option.value or "" for option in options if _component(option)]
    packages = {path.partition(".")[0] for path in paths if "." in path and not path.startswith("distill.")}
    return packages | {(option.value or "").partition(".")[0] for option in options if option.name == "--allow_import"}
