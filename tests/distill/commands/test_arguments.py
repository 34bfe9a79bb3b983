"""Commands that receive their arguments as one value."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import pytest

from distill.commands.arguments import called_with


@dataclass(frozen=True)
class Base:
    """The base.

    Args:
        size: Size in metres.
    """

    size: int = 1


@dataclass(frozen=True)
class Arguments(Base):
    """The arguments.

    Args:
        name: Name of the thing.
    """

    name: str = "thing"


@called_with(Arguments)
def command(arguments: Arguments, given: frozenset[str]) -> tuple[Arguments, frozenset[str]]:
    """Return what was received.

    Returns:
        Both.
    """
    return arguments, given


def test_a_command_receives_one_value_and_what_was_given() -> None:
    assert command() == (Arguments(), frozenset())
    assert command(2, name="thing") == (Arguments(2, "thing"), {"size", "name"})  # also where it is the default


def test_a_misspelt_argument_is_refused() -> None:
    with pytest.raises(TypeError, match="nmae"):
        command(nmae="thing")  # type: ignore[call-arg]


def test_signature_and_descriptions_are_those_of_the_dataclass() -> None:
    assert inspect.signature(command) == inspect.signature(Arguments)
    assert command.arguments is Arguments  # type: ignore[attr-defined]
    assert command.__name__ == "command"
    text = command.__doc__ or ""
    assert text.index("Args:") < text.index("size: Size in metres.") < text.index("name: Name of the thing.")
    assert text.index("name: Name") < text.index("Returns:")
    assert text.count("Args:") == 1
