"""The words of a command, parsed once into options."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SWITCHES = ("--dry_run", "--resume", "--overwrite", "--live", "--normalise")  # true if no value follows
NUMBERS = ("--support", "--levels", "--sampling.levels")
LISTS = ("--compare", *NUMBERS)  # take all words up to the next option
_BARE = ("--help", "--print_config", "-h")  # take no word that follows


class Option(NamedTuple):
    """An option and its value, as the user wrote it.

    Args:
        name: With its dashes, such as "--teacher", "--teacher+" (another one) or "--teacher.checkpoint". Empty: a
            word that belongs to no option.
        value: None: no value was given.
    """

    name: str
    value: str | None = None

    @property
    def component(self) -> str:
        """The component that the option chooses: "teacher" of --teacher, --teacher+ and --teacher.help."""
        return self.name.removeprefix("--").removesuffix(".help").removesuffix("+")

    @property
    def is_true(self) -> bool:
        """Whether a switch is on."""
        return (self.value or "").lower() not in ("", "false", "no", "0")

    def as_word(self) -> str:
        """Return the option as one word of a command line."""
        return "=".join(part for part in (self.name, self.value) if part is not None) if self.name else self.value or ""


def parse_words(words: Sequence[str]) -> list[Option]:
    """Return the options in their order: `--name value`, `--name=value`, switches, and lists."""
    options: list[Option] = []
    place = 0
    while place < len(words):
        word = words[place]
        name, equals, value = word.partition("=")
        place += 1
        if not word.startswith("-") or word.lstrip("-")[:1].isdigit():
            options.append(Option("", word))
        elif name in LISTS:
            following = _until_option(words, place)
            place += len(following)
            options.append(Option(name, _list(name, [value, *following] if equals else following)))
        elif equals:
            options.append(Option(name, os.path.expanduser(value)))  # shells leave ~ after = as it is
        elif name not in _BARE and place < len(words) and not words[place].startswith("--"):
            options.append(Option(name, words[place]))
            place += 1
        else:
            options.append(Option(name, "true" if name in SWITCHES else None))
    return options


def last(options: Iterable[Option], name: str) -> Option:
    """Return the last option of a name, which is the one that holds; without a value where there is none."""
    return next((option for option in reversed(list(options)) if option.name == name), Option(name))


def _until_option(words: Sequence[str], place: int) -> list[str]:
    """Return the words from a place up to the next option."""
    end = next((n for n in range(place, len(words)) if words[n].startswith("--")), len(words))
    return list(words[place:end])


def _list(name: str, words: list[str]) -> str:
    """Return the words of a list in JSON; numbers may be separated by commas."""
    if name not in NUMBERS:
        return json.dumps(words)
    return f"[{', '.join(number.strip('[]') for word in words for number in word.split(',') if number.strip('[]'))}]"
