"""The words of a command line, parsed once into options."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SWITCHES = (
    "--dry_run",
    "--resume",
    "--overwrite",
    "--live",
    "--normalise",
    "--untrained",
    "--save_head",
    "--windows",
    "--public",
)  # without a value they are true
NUMBERS = ("--support", "--keep_steps", "--levels", "--sampling.levels")
LISTS = ("--compare", *NUMBERS)  # they take all words up to the next option
_WITHOUT_VALUE = ("--help", "--print_config", "-h")  # they do not take the next word


class Option(NamedTuple):
    """An option and its value, as the user wrote it.

    Args:
        name: Name with its dashes, such as "--teacher", "--teacher+" (a further teacher) or "--teacher.checkpoint".
            Empty: a word that does not belong to an option.
        value: Value as text. None: no value was given.
    """

    name: str
    value: str | None = None

    @property
    def is_true(self) -> bool:
        """Whether a switch is on."""
        return (self.value or "").lower() not in ("", "false", "no", "0")

    def as_word(self) -> str:
        """Return the option as one word of a command line."""
        return "=".join(part for part in (self.name, self.value) if part is not None) if self.name else self.value or ""


def parse_words(words: Sequence[str]) -> list[Option]:
    """Return the options in their order, written as `--name value`, `--name=value`, switches or lists."""
    options: list[Option] = []
    position = 0
    while position < len(words):
        word = words[position]
        name, equals, value = word.partition("=")
        position += 1
        if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
            options.append(Option("", word))
        elif name in LISTS:
            following = _until_option(words, position)
            position += len(following)
            options.append(Option(name, _list(name, [value, *following] if equals else following)))
        elif equals:
            options.append(Option(name, os.path.expanduser(value)))  # shells do not expand ~ after =
        elif name not in _WITHOUT_VALUE and position < len(words) and not words[position].startswith("--"):
            options.append(Option(name, words[position]))
            position += 1
        else:
            options.append(Option(name, "true" if name in SWITCHES else None))
    return options


def last(options: Iterable[Option], name: str) -> Option:
    """Return the last option of a name, which takes precedence. If there is none, return one without a value."""
    return next((option for option in reversed(list(options)) if option.name == name), Option(name))


def name_positions(options: Iterable[Option], names: Sequence[str]) -> list[Option]:
    """Return the options, where words without a name got `names` in their order. Further words get the last name."""
    left = iter(names)
    return [option if option.name else option._replace(name=next(left, names[-1])) for option in options]


def _until_option(words: Sequence[str], position: int) -> list[str]:
    """Return the words from a position up to the next option."""
    end = next((n for n in range(position, len(words)) if words[n].startswith("--")), len(words))
    return list(words[position:end])


def _list(name: str, words: list[str]) -> str:
    """Return the words of a list in JSON; numbers may be separated by commas."""
    if name not in NUMBERS:
        return json.dumps(words)
    return f"[{', '.join(number.strip('[]') for word in words for number in word.split(',') if number.strip('[]'))}]"
