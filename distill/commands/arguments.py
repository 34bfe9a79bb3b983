"""Commands whose arguments are one frozen, typed value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def called_with(arguments: Callable[P, T]) -> Callable[[Callable[[T, frozenset[str]], R]], Callable[P, R]]:
    """Give a function the signature of a dataclass. The function gets its instance, and the names that were given.

    So every argument is written down once, with its type, default and description, and what the caller gave is known.
    The dataclass is the attribute `arguments` of the function, from which the command line makes its options.
    """
    signature = inspect.signature(arguments)

    def decorate(function: Callable[[T, frozenset[str]], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind_partial(*args, **kwargs).arguments
            return function(arguments(*args, **kwargs), frozenset(given))

        described = "".join(map(_described, reversed(inspect.getmro(arguments))))  # type: ignore[arg-type]
        call.__doc__ = (function.__doc__ or "").replace("    Returns:", f"    Args:{described}\n\n    Returns:")
        call.__signature__, call.arguments = signature, arguments  # type: ignore[attr-defined]
        return call

    return decorate


def _described(kind: type) -> str:
    """Return the lines of a class's docstring that describe its arguments."""
    return (kind.__doc__ or "").partition("Args:")[2].rstrip() if "__doc__" in vars(kind) else ""
