"""The parser of one command, made by jsonargparse from its signature, with messages in one line."""

from __future__ import annotations

import difflib
import re
from typing import Any

from jsonargparse import ArgumentParser

from distill.cli.names import COMPONENTS, components_of, function_of
from distill.data.errors import UserError

_GIVEN_TO_OBJECTIVES = {"student", "teachers"}  # by `fit`
_REFUSED = re.compile(r"key \"(\w+)\".*?Option '([\w.]+)' is not accepted(?:; did you mean --([\w.]+)\?)?", re.DOTALL)
_UNKNOWN = re.compile(r"(?:[Uu]nrecognized arguments: |[Kk]ey |[Oo]ption )[\"']?(?:--)?([\w.]+)")


class Parser(ArgumentParser):
    """A parser that raises UserError for its errors."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise UserError with the message in one line, and a suggestion for an unknown option."""
        options = [option for action in self._actions for option in action.option_strings]
        raise UserError(f"{clear_message(message, options)} ({self.prog} --help shows all options)")


def parser_of(command: str) -> Parser:
    """Return the parser of a command. Its options are the parameters of the function."""
    from distill.teachers.teacher import Teacher

    function, components = function_of(command), components_of(command)
    description = (function.__doc__ or "").partition("\n\n    Args:")[0]
    parser = Parser(prog=f"distill {command}", allow_abbrev=False, description=description)
    parser.add_argument("--config", action="config", help="YAML file with options; later options take precedence")
    for name in components:
        if name == "teacher" and command == "fit":
            text = "encoder to imitate, by name or import path; --teacher+=NAME adds another"
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
    """Return a message of jsonargparse in one line, with a suggestion for an unknown option.

    Args:
        message: Message of jsonargparse.
        options: All options of the command, including their dashes.
    """
    if refused := _REFUSED.search(message):
        component, option, close = refused.groups()
        return f"--{component} has no option {option!r}" + (f"; did you mean --{component}.{close}?" if close else "")
    line = " ".join(message.split())
    if not (unknown := _UNKNOWN.search(message)):
        return line
    written = f"--{unknown[1]}"
    near = [option for option in difflib.get_close_matches(written, options, n=1) if option != written]
    return f"{line}; did you mean {near[0]}?" if near else line
