"""Errors that a user can correct, in contrast to errors of this package."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Sequence

_DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS, errno.EACCES)


class UserError(Exception):
    """A mistake of the user: one line that states what is wrong, where, and how to correct it.

    The command line prints the line without a traceback and exits with `exit_code`.

    Attributes:
        exit_code: Exit code of the process.
        is_silent: Whether another process of the same run prints the line.
    """

    exit_code = 2
    is_silent = False


class AudioError(UserError):
    """A clip that cannot be used. It does not stop a run: the clip is set aside, counted and listed.

    Args:
        reason: One of a closed set of codes, such as "missing" or "malformed". See `distill.data.audio.read`.
        detail: The observation, for the reader of the list.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # by default, pickling loses `detail`


class StoreError(UserError):
    """A store of embeddings that is missing, incomplete or damaged, or that lacks an embedding."""


def exit_code_of(error: BaseException) -> int:
    """Return the exit code after an error: 2 for a wrong input, 74 for the disk, 130 for Ctrl-C, otherwise 1."""
    if isinstance(error, UserError):
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return 74
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require_one_of(option: str, value: str, known: Collection[str]) -> None:
    """Raise UserError if an option's value is not one of `known`."""
    if value not in known:
        raise UserError(f"{option} {value!r}: must be one of {', '.join(known)}")


def as_text(path: str | os.PathLike[str]) -> str:
    """Return a path as one printable line; other characters are escaped."""
    text = os.fsdecode(path)
    return text if text.isprintable() else text.encode("unicode_escape", "backslashreplace").decode()


def listed(names: Sequence[str], most: int = 20) -> str:
    """Return the first of some names as text, with dots if there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
