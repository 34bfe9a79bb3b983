"""Commands that receive their arguments as one frozen, typed value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from distill.data.clips.sources import Data

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class ReadsClips:
    """The clips of a command, which its dataclass of arguments names by four fields."""

    data: str | Data
    root: str
    label: str
    split: str

    @property
    def source(self) -> Data:
        """Where the clips are."""
        return Data.of(self.data, self.root, self.label, self.split)

    @property
    def data_name(self) -> str:
        """Name of the folder or table, for results."""
        return Path(self.source.path).resolve().name


def folder_of(model: str | None, other: str) -> Path:
    """Return the folder for results of a student. It is `other` for a hub id, of which there is no folder here.

    A folder of that name would be taken for a run later.
    """
    return Path(model) if model and Path(model).exists() else Path(other)


def called_with(arguments: Callable[P, T]) -> Callable[[Callable[[T, frozenset[str]], R]], Callable[P, R]]:
    """Return a decorator that gives a function the signature and the descriptions of a dataclass.

    The decorated function receives the instance and the names of the arguments that the caller gave. So each argument
    is declared once, with its type, default and description.

    Args:
        arguments: Dataclass of the arguments. The command line reads it from the attribute `arguments` of the result.
    """
    signature = inspect.signature(arguments)

    def decorate(function: Callable[[T, frozenset[str]], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind_partial(*args, **kwargs).arguments
            return function(arguments(*args, **kwargs), frozenset(given))

        descriptions = "".join(map(_descriptions, reversed(inspect.getmro(arguments))))  # type: ignore[arg-type]
        call.__doc__ = (function.__doc__ or "").replace("    Returns:", f"    Args:{descriptions}\n\n    Returns:")
        call.__signature__, call.arguments = signature, arguments  # type: ignore[attr-defined]
        return call

    return decorate


def _descriptions(kind: type) -> str:
    """Return the lines of a class's docstring that describe its arguments."""
    return (kind.__doc__ or "").partition("Args:")[2].rstrip() if "__doc__" in vars(kind) else ""
