"""`distill fit`: train a student, from a folder of sounds to a model that loads anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from distill.data.files import lock
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitArguments, FitOptions
from distill.run.resuming import check_same_run
from distill.students.student import Student

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def called_with(arguments: Callable[P, T]) -> Callable[[Callable[[T, frozenset[str]], R]], Callable[P, R]]:
    """Give a function the signature of a dataclass. The function gets its instance, and the names that were given.

    So every argument is written down once, with its type, default and description, and what the caller gave is known.
    """
    signature = inspect.signature(arguments)

    def decorate(function: Callable[[T, frozenset[str]], R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind_partial(*args, **kwargs).arguments
            return function(arguments(*args, **kwargs), frozenset(given))

        call.__signature__ = signature  # type: ignore[attr-defined]
        described = "".join(_described(kind) for kind in reversed(inspect.getmro(arguments)))  # type: ignore[arg-type]
        call.__doc__ = (function.__doc__ or "").replace("    Returns:", f"    Args:{described}\n\n    Returns:")
        return call

    return decorate


def _described(kind: type) -> str:
    """Return the lines of a class's docstring that describe its arguments."""
    return (kind.__doc__ or "").partition("Args:")[2].rstrip() if "__doc__" in vars(kind) else ""


@called_with(FitArguments)
def fit(arguments: FitArguments, given: frozenset[str]) -> Student:
    """Distil a teacher into a student.

    The teacher's embeddings are computed once and kept; the student learns from them. With `live` the teacher runs on
    every batch instead.

    Returns:
        The trained student in evaluation mode. After a dry run: the student with its first weights.

    Raises:
        UserError: the arguments are wrong; nothing is written.
        Stopped: a signal ended the run; `--resume` goes on.
    """
    run = Run(arguments.out)
    stored = FitOptions.from_config(run.config) if arguments.out and arguments.resume else None
    options = arguments.options(stored, given)
    options.check()
    job = Job(options)
    if arguments.resume:
        check_same_run(run.config, job.resolved.as_config())
    else:
        run.check_free(arguments.overwrite)
    if arguments.dry_run:
        from distill.run.dry_run import dry_run

        dry_run(job)
        return job.parts.student.eval()
    with lock(run.path, "distill fit"):
        if not arguments.resume:
            run.clear()
            run.write_config(job.resolved.as_config())
        return job.train(arguments.resume)
