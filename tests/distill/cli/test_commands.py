"""The commands, by name."""

from __future__ import annotations

import pytest

import distill
from distill.cli.commands import COMMANDS, function_of, parameters_of


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"list"}))  # `list` is a word of Python
def test_a_command_is_the_public_function_of_its_name(command: str) -> None:
    assert function_of(command) is getattr(distill, command)


def test_the_options_of_a_command_are_the_parameters_of_its_function() -> None:
    assert list(parameters_of("export")) == [
        "model", "out", "allow_import", "space", "format", "seconds", "int8", "front_end",
    ]  # fmt: skip
    assert parameters_of("fit")["seed"].default == 0
