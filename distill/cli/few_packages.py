"""The command line where PyTorch is not installed: `distill predict` with an exported student, without jsonargparse."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args, get_type_hints

from distill.cli.commands import function_of
from distill.cli.words import Option, last
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError

_WITHOUT = "PyTorch is not installed: pip install audio-distill; without it, only this works: "
_EXAMPLE = "distill predict --model student.onnx --data night.wav --windows 3 --out night.csv"
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def options_without_torch(command: str, options: Sequence[Option]) -> dict[str, Any]:
    """Return the keyword arguments of a command from its options.

    Args:
        command: Name of the command.
        options: Options of the command line.

    Raises:
        UserError: the command or the student needs PyTorch, an option is unknown or missing, or a value is not valid.
    """
    is_help = any(option.name in ("-h", "--help") for option in options)
    if command != "predict" or not (is_help or (last(options, "--model").value or "").lower().endswith(".onnx")):
        raise UserError(f"{_WITHOUT}{_EXAMPLE}")
    function = function_of(command)
    if is_help:
        print(inspect.getdoc(function))
        raise SystemExit(0)
    arguments: type[Any] = function.arguments  # type: ignore[attr-defined]
    hints = get_type_hints(arguments)
    values: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for option in options:
        name, _, part = option.name.removeprefix("--").partition(".")
        kinds = _kinds(hints, name, option)
        if part:
            settings = get_type_hints(next((kind for kind in kinds if dataclasses.is_dataclass(kind)), object))
            parts.setdefault(name, {})[part] = _parsed(option, _kinds(settings, part, option))
        else:
            values[name] = _parsed(option, kinds)
    for name, given in parts.items():
        values[name] = _built(next(kind for kind in _args(hints[name]) if dataclasses.is_dataclass(kind)), name, given)
    required = [field.name for field in dataclasses.fields(arguments) if field.default is dataclasses.MISSING]
    if missing := [name for name in required if name not in values]:
        raise UserError(f"--{missing[0]} is required, as in: {_EXAMPLE}")
    return values


def _kinds(hints: Mapping[str, Any], name: str, option: Option) -> tuple[Any, ...]:
    """Return the types that an option permits. Raises UserError for an unknown option."""
    if name not in hints:
        written = option.name or option.value or ""
        raise UserError(f"unknown option {written!r}; {suggest(name, list(hints))}")
    return _args(hints[name])


def _args(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)


def _parsed(option: Option, kinds: Sequence[Any]) -> Any:
    """Return the value of an option in the first type that it fits. Raises UserError."""
    text = option.value or ""
    if bool in kinds and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    for kind in (int, float, str):
        with suppress(ValueError):  # of a text that is not of this type
            if kind in kinds and (text or kind is str):
                return kind(text)
    known = ", ".join(kind.__name__ for kind in (bool, int, float, str) if kind in kinds)
    raise UserError(f"{option.name} {text}: must be of type {known}")


def _built(kind: Any, name: str, given: Mapping[str, Any]) -> Any:
    """Return a dataclass of settings. Raises UserError for an impossible value."""
    try:
        return kind(**given)
    except ValueError as error:
        raise UserError(f"--{name}: {error}") from error
