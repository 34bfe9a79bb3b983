"""The parser of a command, made by jsonargparse from its signature: options become keyword arguments."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from distill.cli.commands import SEVERAL_TEACHERS, function_of
from distill.cli.components import COMPONENTS, Resolved, components_of, default_components
from distill.cli.configs import read_config
from distill.cli.words import Option, last
from distill.data.errors import UserError

_GIVEN_TO_OBJECTIVES = {"student", "teachers"}  # by `fit`
_REFUSED = re.compile(r"key \"(\w+)\".*?Option '([\w.]+)' is not accepted(?:; did you mean --([\w.]+)\?)?", re.DOTALL)
_MISSING = re.compile(r"key \"(\w+)\".*?the following arguments are required: (\w+)")
_WRONG_TYPE = re.compile(r"key \"(\w+)\": .*?key \"([\w.]+)\": Expected a <class '(\w+)'>\. Got value: (\S+)")
_UNKNOWN = re.compile(r"(?:[Uu]nrecognized arguments: |[Kk]ey |[Oo]ption )[\"']?(?:--)?([\w.]+)")


class Parser(ArgumentParser):
    """A parser that raises UserError for its errors."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise UserError with the message in one line, and a suggestion for an unknown option."""
        options = [option for action in self._actions for option in action.option_strings]
        raise UserError(f"{clear_message(message, options)} ({self.prog} --help shows all options)")


def parse_options(command: str, given: Resolved) -> dict[str, Any]:
    """Return the keyword arguments of a command. A component stays a mapping, which the command builds.

    Args:
        command: Name of the command.
        given: Options of the command line.

    Raises:
        UserError: an option is unknown, or its value is not valid.
    """
    parser, options = parser_of(command), given.options
    options = [*default_components(command, options), *_stored_config(command, options), *options]
    values = parser.parse_args([_with_content(option, given.packages).as_word() for option in options])
    values.pop("config", None)
    plain_values = values.as_dict()
    components = {name: plain_values[name] for name in COMPONENTS if plain_values.get(name) is not None}
    for name in COMPONENTS:
        values.pop(name, None)
    return {**components, **vars(parser.instantiate(values))}


def parser_of(command: str) -> Parser:
    """Return the parser of a command. Its options are the parameters of the function."""
    from distill.teachers.teacher import Teacher

    function, components = function_of(command), components_of(command)
    description = (function.__doc__ or "").partition("\n\n    Args:")[0]
    parser = Parser(prog=f"distill {command}", allow_abbrev=False, description=description)
    parser.add_argument("--config", action="config", help="YAML file with options; later options take precedence")
    for name in components:
        if name == "teacher" and command in SEVERAL_TEACHERS:
            text = f"{SEVERAL_TEACHERS[command]}, by name or import path; --teacher+=NAME adds another"
            parser.add_argument("--teacher", type=Teacher | list[Teacher] | None, default=None, help=text)
        else:
            skip = _GIVEN_TO_OBJECTIVES if name == "objective" else set()
            base: type[Any] = COMPONENTS[name].base
            parser.add_subclass_arguments(base, name, required=False, instantiate=False, skip=skip)
    arguments: type[Any] | None = getattr(function, "arguments", None)
    if arguments is not None:
        parser.add_class_arguments(arguments, skip={*components}, as_positional=False)
    else:
        parser.add_function_arguments(function, skip={*components}, as_positional=False)
    return parser


def clear_message(message: str, options: list[str]) -> str:
    """Return a message of jsonargparse in one line, with the option that is wrong and a suggestion for an unknown one.

    Args:
        message: Message of jsonargparse.
        options: All options of the command, including their dashes.
    """
    if refused := _REFUSED.search(message):
        component, option, close = refused.groups()
        return f"--{component} has no option {option!r}" + (f"; did you mean --{component}.{close}?" if close else "")
    line = " ".join(message.split())
    if missing := _MISSING.search(line):
        return "--{}.{} is required".format(*missing.groups())
    if wrong := _WRONG_TYPE.search(line):
        return "--{0}.{1} {3}: must be of type {2}".format(*wrong.groups())
    if not (unknown := _UNKNOWN.search(message)):
        return line
    written = f"--{unknown[1]}"
    near = [option for option in difflib.get_close_matches(written, options, n=1) if option != written]
    return f"{line}; did you mean {near[0]}?" if near else line


def _stored_config(command: str, options: Sequence[Option]) -> list[Option]:
    """Return the option that reads the stored options of a resumed run; none for a new run."""
    config = os.path.join(last(options, "--out").value or "", "config.yaml")
    resumed = command == "fit" and last(options, "--resume").is_true and os.path.isfile(config)
    return [Option("--config", config)] if resumed else []


def _with_content(option: Option, packages: Collection[str]) -> Option:
    """Replace the path of a configuration file by its content."""
    return option._replace(value=read_config(option.value or "", packages)) if option.name == "--config" else option
