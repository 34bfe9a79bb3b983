"""Mistakes that a user can mend, told apart from our own."""

from __future__ import annotations

from collections.abc import Collection


class UserError(Exception):
    """A mistake of the user: one line that says what was wrong, where, and what to do.

    The command line prints the line and exits with `exit_code`; a traceback would only hide it.
    """

    exit_code = 2


class AudioError(UserError):
    """A clip that cannot be used. It never stops a run: it is counted and listed with `reason`.

    Args:
        reason: One of a closed set of codes, such as "missing" or "malformed"; see `distill.data.audio.read`.
        detail: What was seen, for the person who reads the list.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # the default would lose `detail` between processes


class StoreError(UserError):
    """A store of embeddings that does not hold what is asked of it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require_one_of(option: str, value: str, known: Collection[str]) -> None:
    """Raise UserError where an option's value is none of those known."""
    if value not in known:
        raise UserError(f"{option} {value!r}: one of {', '.join(known)} is wanted")
