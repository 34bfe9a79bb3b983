"""`distill fit`: train a student."""

from __future__ import annotations

from distill.commands.arguments import called_with
from distill.data.files import lock
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.options import FitArguments, FitOptions
from distill.run.resuming import check_same_run
from distill.students.student import Student


@called_with(FitArguments)
def fit(arguments: FitArguments, given: frozenset[str]) -> Student:
    """Distil a teacher into a student.

    The teacher's embeddings are computed once and stored. The student is trained to predict them. With `live` the
    teacher runs on every batch instead.

    Returns:
        The trained student in evaluation mode. After a dry run: the student with its initial weights.

    Raises:
        UserError: an argument is wrong, or no clip can be used.
        Stopped: a signal ended the run. `--resume` continues it.
    """
    run = Run(arguments.out)
    stored = FitOptions.from_config(run.config) if arguments.out and arguments.resume else None
    options = arguments.options(stored, given)
    options.check()
    job = Job(options)
    if stored is not None:
        check_same_run(stored.as_config(), job.resolved.as_config())
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
