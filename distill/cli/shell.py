"""The command line: every command is a function, its signature is its options.

What needs no network — help, version, a misspelt name — is answered before anything heavy is imported.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from distill.data.encoders.registry import Registry, suggest
from distill.data.errors import UserError
from distill.objectives import OBJECTIVES
from distill.run.memory import keep_freed_memory
from distill.students import STUDENTS
from distill.teachers import TEACHERS

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

COMMANDS = {
    "fit": "train a student: distil a teacher into it",
    "embed": "run a teacher or a trained student over audio, into an embedding store",
    "cluster": "k-means over a store, with a report",
    "probe": "score an encoder on labelled clips: linear, mlp, knn or fine-tuned",
    "export": "a trained student as one ONNX file, waveform in",
    "report": "pictures of a run; or runs side by side: scores, retention, costs",
    "list": "teachers, students, objectives, losses: with licence, sample rate and where weights come from",
}
COMPONENTS: dict[str, Registry[Any]] = {"teacher": TEACHERS, "student": STUDENTS, "objective": OBJECTIVES}
SWITCHES = ("--dry_run", "--resume", "--overwrite", "--live", "--normalise")  # on without a value
_NUMBERS = ("--support", "--levels", "--sampling.levels")
_SEVERAL = ("--compare", *_NUMBERS)  # take all words up to the next option
_MAX_CONFIG_BYTES, _MAX_ALIASES = 1 << 20, 100

_DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS, errno.EACCES)

_HELP = """usage: distill COMMAND [OPTIONS]

Distil any audio teacher into any small student.

{commands}

  distill fit --teacher spectral --student mobilenet_v3 --data my_sounds/ --out runs/first

`distill COMMAND --help` shows a command's options, `distill COMMAND --teacher.help NAME` those of a teacher.
--config FILE takes options from YAML, --print_config prints them, --debug shows the traceback of an error.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 a mistake of the user, 74 the disk, 128 + n stopped by signal n."""
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
    except BrokenPipeError:  # `head` has seen enough; what is flushed at the end must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        _fail(error, 74, debug)


def _warn(message: Warning | str, *where: Any, **more: Any) -> None:
    print(f"distill: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(error: BaseException, code: int, debug: bool) -> None:
    if debug:
        raise error
    line = " ".join(str(error).split()) or "interrupted"
    print(f"distill: error: {line}", file=sys.stderr)
    raise SystemExit(code)


def _run(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items())))
        return
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"audio-distill {version('audio-distill')}")
        return
    command, options = words[0], words[1:]
    if command not in COMMANDS:
        raise UserError(f"unknown command {command!r}; {suggest(command, list(COMMANDS))}")
    if command == "list":
        _list(options)
        return
    options = [
        f"{word}=true" if word in SWITCHES and not _value(options, place) else word
        for place, word in enumerate(options)
    ]
    options = _gather([_at_home(word) for word in options])
    allowed = _allow_imports(options)
    options = [_resolve_word(options, place) for place in range(len(options))]
    parser = _parser(command)
    options = _stored_config(command, options) + options
    options = _usual_components(command, options) + options
    options = _resolve_configs(options, allowed)
    _call(command, parser, options)


def _call(command: str, parser: ArgumentParser, options: list[str]) -> None:
    values = parser.parse_args(options)
    values.pop("config", None)
    written = values.as_dict()
    # Components are built by the command, which knows what to say of one that cannot be.
    components = {name: written[name] for name in COMPONENTS if written.get(name) is not None}
    for name in COMPONENTS:
        values.pop(name, None)
    _function(command)(**components, **vars(parser.instantiate(values)))


def _function(command: str) -> Callable[..., Any]:
    return getattr(import_module(f"distill.commands.{command}"), command)


def _list(options: list[str]) -> None:
    from distill.commands.listing import list_components

    kinds = [word for word in options if word != "--markdown"]
    if len(kinds) > 1 or kinds[:1] == ["--help"]:
        print("usage: distill list [teachers | students | objectives | losses | datasets] [--markdown]")
        return
    list_components(kinds[0] if kinds else "all", markdown="--markdown" in options)


def _at_home(word: str) -> str:
    """A path after `=` that begins with ~, which shells leave as it is, as the path that it stands for."""
    name, equals, value = word.partition("=")
    return f"{name}={os.path.expanduser(value)}" if equals and name.startswith("--") else word


def _gather(options: list[str]) -> list[str]:
    """The words after an option that takes several (--compare runs/*, --support 1,2,5) as one list in JSON."""
    gathered: list[str] = []
    taking: list[str] | None = None
    for word in options:
        if taking is not None and not word.startswith("--"):
            taking += word.split(",") if gathered[-1] in _NUMBERS else [word]
            continue
        if taking is not None:
            gathered.append(_as_list(gathered[-1], taking))
            taking = None
        name, _, value = word.partition("=")
        if name in _SEVERAL:
            gathered.append(name)
            taking = ([value] if name not in _NUMBERS else value.split(",")) if value else []
        else:
            gathered.append(word)
    return [*gathered, _as_list(gathered[-1], taking)] if taking is not None else gathered


def _as_list(option: str, words: list[str]) -> str:
    import json

    if option in _NUMBERS:
        return f"[{', '.join(word.strip('[]') for word in words)}]"
    return json.dumps(words)


def _allow_imports(options: list[str]) -> set[str]:
    """Packages that the user names in this command, which is a permission to import them."""
    paths = [_value(options, place) for place in range(len(options)) if _component_of(options[place])]
    packages = {path.partition(".")[0] for path in paths if path and "." in path and not path.startswith("distill.")}
    for place, word in enumerate(options):
        if word.partition("=")[0] == "--allow_import":
            packages.add(_value(options, place).partition(".")[0])
    if packages:
        sys.path.append(os.getcwd())  # a class in the user's folder, for which it would otherwise need installing
    return packages


def _component_of(word: str) -> str | None:
    """The component that an option chooses ("teacher" of --teacher, --teacher+=x, --teacher.help), if any."""
    option = word.partition("=")[0]
    name = option.removeprefix("--").removesuffix(".help").removesuffix("+")
    return name if option.startswith("--") and name in COMPONENTS else None


def _value(options: list[str], place: int) -> str:
    """What an option is set to: after its "=", or the next word."""
    _, equals, value = options[place].partition("=")
    following = options[place + 1] if place + 1 < len(options) else ""
    return value if equals else "" if following.startswith("--") else following


def _resolve_word(options: list[str], place: int) -> str:
    """Replace a registered name by its import path, which jsonargparse takes."""
    word = options[place]
    if (component := _component_of(word)) and "=" in word:
        option, _, value = word.partition("=")
        return f"{option}={_import_path(component, value)}"
    if place and "=" not in options[place - 1] and (component := _component_of(options[place - 1])):
        return word if word.startswith("--") else _import_path(component, word)
    return word


def _import_path(component: str, name: str) -> str:
    registry = COMPONENTS[component]
    if not name.isidentifier() and "." not in name:
        raise UserError(f"unknown {component} {name!r}; {suggest(name, registry.names())}")
    if "." not in name and name not in registry.names():
        raise UserError(f"unknown {component} {name!r}; {suggest(name, registry.names())}")
    found: Any = registry.find(name)
    return f"{found.__module__}.{found.__qualname__}"


def _stored_config(command: str, options: list[str]) -> list[str]:
    """A resumed run begins with the options that it had."""
    named = {word.partition("=")[0]: _value(options, place) for place, word in enumerate(options)}
    wanted = "--resume" in named and named["--resume"].lower() not in ("false", "no", "0")
    config = os.path.join(named.get("--out", ""), "config.yaml")
    return [f"--config={config}"] if command == "fit" and wanted and os.path.isfile(config) else []


def _usual_components(command: str, options: list[str]) -> list[str]:
    """Where options of a component are given and not its name: the usual one, if a file does not name another."""
    import inspect

    usual = inspect.signature(_function(command)).parameters
    named = {_component_of(word) for word in options}
    filed = any(word.partition("=")[0] == "--config" for word in options)
    begun = []
    for component in COMPONENTS:
        own = [word.partition("=")[0] for word in options if word.startswith(f"--{component}.")]
        if not own or component in named or component not in usual:
            continue
        name = usual[component].default
        if isinstance(name, str) and name:
            begun.append(f"--{component}={_import_path(component, name)}")
        elif not filed:
            raise UserError(f"{own[0]}: of which {component}? --{component} NAME is wanted before it")
    return begun


def _resolve_configs(options: list[str], allowed: set[str]) -> list[str]:
    """Replace every --config FILE by its content, with names as import paths."""
    resolved, skip = [], False
    for place, word in enumerate(options):
        if skip:
            skip = False
        elif word.partition("=")[0] == "--config":
            skip = "=" not in word
            resolved.append(f"--config={_read_config(_value(options, place), allowed)}")
        else:
            resolved.append(word)
    return resolved


def _read_config(path: str, allowed: set[str]) -> str:
    import json

    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_CONFIG_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > _MAX_CONFIG_BYTES or text.count("*") > _MAX_ALIASES:
        raise UserError(f"--config {path}: too large, or too many aliases, for a configuration")
    try:
        config = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"--config {path}: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: options by name are wanted")
    for component, registry in COMPONENTS.items():
        spec = config.get(component)
        specs = [
            {"class_path": one} if isinstance(one, str) else one for one in (spec if isinstance(spec, list) else [spec])
        ]
        for one in specs:
            if not isinstance(one, dict) or "class_path" not in one:
                continue
            name = str(one["class_path"])
            if not registry.is_trusted(name) and name.partition(".")[0] not in allowed and "." in name:
                raise UserError(
                    f"--config {path} names {name!r}, and a file that names a class is a program; "
                    f"if you trust it: --allow_import {name.partition('.')[0]}"
                )
            one["class_path"] = _import_path(component, name)
        if spec is not None:
            config[component] = specs if isinstance(spec, list) else specs[0]
    return json.dumps(config)


def _parser(command: str) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    from distill.objectives.objective import Objective
    from distill.students.student import Student
    from distill.teachers.teacher import Teacher

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
            raise UserError(f"{_clear(message, self)} (distill {command} --help shows all options)")

    function = _function(command)
    parser = Parser(
        prog=f"distill {command}",
        allow_abbrev=False,
        description=(function.__doc__ or "").partition("\n\n    Args:")[0],
    )
    parser.add_argument("--config", action="config", help="YAML file with options; later options win")
    taken = set(function.__annotations__) & COMPONENTS.keys()
    bases: dict[str, type] = {"teacher": Teacher, "student": Student, "objective": Objective}
    given = {"student", "teachers"}  # to an objective, by `fit`
    for name in sorted(taken, key=list(COMPONENTS).index):
        if name == "teacher" and command == "fit":
            described = "encoder to imitate, by name or import path; --teacher+=NAME adds another"
            parser.add_argument("--teacher", type=Teacher | list[Teacher] | None, default=None, help=described)
            continue
        skip = given if name == "objective" else set()
        parser.add_subclass_arguments(bases[name], name, required=False, instantiate=False, skip=skip)
    parser.add_function_arguments(function, skip={*taken}, as_positional=False)
    return parser


def _clear(message: str, parser: ArgumentParser) -> str:
    """Jsonargparse's message in one line, with a suggestion for an option that is not known."""
    import difflib
    import re

    refused = re.search(
        r"key \"(\w+)\".*?Option '([\w.]+)' is not accepted(?:; did you mean --([\w.]+)\?)?", message, re.DOTALL
    )
    if refused:
        component, option, close = refused.groups()
        return f"--{component} has no option {option!r}" + (f"; did you mean --{component}.{close}?" if close else "")
    unknown = re.search(r"(?:[Uu]nrecognized arguments: |[Kk]ey |[Oo]ption )[\"']?(?:--)?([\w.]+)", message)
    known = [option for action in parser._actions for option in action.option_strings]
    near = difflib.get_close_matches(f"--{unknown[1]}", known, n=1) if unknown else []
    line = " ".join(message.split())
    return f"{line}; did you mean {near[0]}?" if near and near[0] != f"--{unknown[1]}" else line  # type: ignore[index]
