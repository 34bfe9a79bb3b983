"""The command line. Help, version and errors of spelling need no heavy import."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from distill.cli.names import COMMANDS, COMPONENTS, components_of, function_of, import_path, parameters_of
from distill.cli.words import Option, last, parse_words
from distill.data.encoders.registry import suggest
from distill.data.errors import UserError
from distill.run.memory import keep_freed_memory

_DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS, errno.EACCES)

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
    keep_freed_memory()
    try:
        _run([word for word in words if word != "--debug"])
    except UserError as error:
        _fail(error, error.exit_code, debug)
    except KeyboardInterrupt as error:
        _fail(error, 130, debug)
    except BrokenPipeError:  # such as `distill list | head`; the flush at the exit must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _fail(error, 74, debug)


def _warn(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    """Print a warning in one line."""
    print(f"distill: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(error: BaseException, code: int, debug: bool) -> None:
    """Print an error in one line and exit; with `debug` raise it."""
    if debug:
        raise error
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
        _call(command, parse_words(words[1:]))


def _call(command: str, written: list[Option]) -> None:
    """Complete the options, parse them, and call the command, which builds the components."""
    packages = _named_packages(written)
    if packages:
        sys.path.append(os.getcwd())  # so that a class in the user's folder need not be installed
    options = [_with_import_path(option) for option in written]
    from distill.cli.parser import parser_of  # after the check of names, so that a misspelt one needs no jsonargparse

    parser = parser_of(command)
    options = [*_default_components(command, options), *_stored_config(command, options), *options]
    values = parser.parse_args([_with_content(option, packages).as_word() for option in options])
    values.pop("config", None)
    plain_values = values.as_dict()
    components = {name: plain_values[name] for name in COMPONENTS if plain_values.get(name) is not None}
    for name in COMPONENTS:
        values.pop(name, None)
    function_of(command)(**components, **vars(parser.instantiate(values)))


def _list(words: list[str]) -> None:
    """Run `distill list`, whose options need no parser."""
    from distill.commands.listing import list_components

    kinds = [word for word in words if word != "--markdown"]
    if len(kinds) > 1 or kinds[:1] == ["--help"]:
        print("usage: distill list [teachers | students | objectives | losses | datasets] [--markdown]")
        return
    list_components(kinds[0] if kinds else "all", markdown="--markdown" in words)


def _named_packages(options: list[Option]) -> set[str]:
    """Return the packages that the user names in this command, which permits importing them."""
    paths = [option.value or "" for option in options if option.component in COMPONENTS]
    packages = {path.partition(".")[0] for path in paths if "." in path and not path.startswith("distill.")}
    return packages | {(option.value or "").partition(".")[0] for option in options if option.name == "--allow_import"}


def _with_import_path(option: Option) -> Option:
    """Replace the name of a component by its import path, which jsonargparse requires."""
    if option.component in COMPONENTS and option.value:
        return option._replace(value=import_path(option.component, option.value))
    return option


def _stored_config(command: str, options: list[Option]) -> list[Option]:
    """Return the option that reads the stored options of a resumed run; none for a new run."""
    config = os.path.join(last(options, "--out").value or "", "config.yaml")
    resumed = command == "fit" and last(options, "--resume").is_true and os.path.isfile(config)
    return [Option("--config", config)] if resumed else []


def _default_components(command: str, options: list[Option]) -> list[Option]:
    """Return the default components of which only options are given.

    Without a default, a configuration file may name the component. Raises UserError if there is none.
    """
    chosen = {option.component for option in options}
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


def _with_content(option: Option, packages: set[str]) -> Option:
    """Replace the path of a configuration file by its content."""
    from distill.cli.configs import read_config

    return option._replace(value=read_config(option.value or "", packages)) if option.name == "--config" else option
