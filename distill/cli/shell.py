"""The command line. Help, version and errors of spelling need no heavy import."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from distill.cli.commands import COMMANDS, POSITIONAL, function_of
from distill.cli.components import resolve
from distill.cli.words import name_positions, parse_words
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError, exit_code_of

_HELP = """usage: distill COMMAND [OPTIONS]

Distil any audio teacher into any small student.

{commands}

  distill fit --teacher musicnn --student mobilenet_v3 --data my_sounds/ --out runs/first

`distill COMMAND --help` shows a command's options, `distill COMMAND --teacher.help NAME` those of a teacher.
--config FILE takes options from YAML, --print_config prints them, --debug shows the traceback of an error.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command. Errors end the process with an exit code.

    The code is 2 for a mistake of the user and 74 for an error of the disk. After signal n it is 128 + n.

    Args:
        arguments: Words of the command line, without the name of the program. None: those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    warnings.showwarning = _warn
    try:
        _run([word for word in words if word != "--debug"])
    except UserError as error:
        _fail(error, error.exit_code, debug)
    except KeyboardInterrupt as error:
        _fail(error, exit_code_of(error), debug)
    except BrokenPipeError:  # such as `distill list | head`; the flush at the exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if exit_code_of(error) == 1:  # not one of the disk
            raise
        _fail(error, exit_code_of(error), debug)


def _warn(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    """Print a warning in one line."""
    print(f"distill: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(error: BaseException, code: int, debug: bool) -> None:
    """Print an error in one line and exit; with `debug` raise it. Another process of the run may print it instead."""
    if debug:
        raise error
    if getattr(error, "is_silent", False):
        raise SystemExit(code)
    line = " ".join(str(error).split()) or "interrupted"
    print(f"distill: error: {line}", file=sys.stderr)
    raise SystemExit(code)


def _run(words: list[str]) -> None:
    """Print help or version, or run the command that the first word names."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())))
        return
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"audio-distill {version('audio-distill')}")
        return
    command = words[0]
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}; {suggest(command, list(COMMANDS))}")
    if command == "list":
        _list(words[1:])
    else:
        _call(command, words[1:])


def _call(command: str, words: list[str]) -> None:
    """Parse the words of a command, and call its function."""
    written = parse_words(words)
    if command in POSITIONAL:
        written = name_positions(written, POSITIONAL[command])
    if find_spec("torch") is None:
        from distill.cli.few_packages import options_without_torch

        given = options_without_torch(command, written)  # before the import of a command that cannot run
        function_of(command)(**given)
        return
    options = resolve(written)
    from distill.cli.parser import (
        parse_options,  # after the check of names, so that a misspelt one needs no jsonargparse
    )

    function_of(command)(**parse_options(command, options))


def _list(words: list[str]) -> None:
    """Run `distill list`, whose options need no parser."""
    from distill.commands.listing import list_components

    kinds = [word for word in words if word != "--markdown"]
    if len(kinds) > 1 or kinds[:1] == ["--help"]:
        print("usage: distill list [teachers | students | objectives | losses | datasets] [--markdown]")
        return
    list_components(kinds[0] if kinds else "all", markdown="--markdown" in words)
