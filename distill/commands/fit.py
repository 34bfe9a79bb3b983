"""`distill fit`: train a student."""

from __future__ import annotations

from distill.commands.arguments import called_with
from distill.data.files import lock
from distill.run.folder import Run
from distill.run.job import Job
from distill.run.launcher import launch, starts_processes
from distill.run.options import FitArguments, FitOptions
from distill.run.resuming import check_same_run
from distill.students.saved import load_student
from distill.students.student import Student
from distill.training.joining import joined
from distill.training.world import World


@called_with(FitArguments)
def fit(arguments: FitArguments, given: frozenset[str]) -> Student:
    """Distil a teacher into a student.

    The teacher's embeddings are computed once and stored. The student is trained to predict them. With `live` the
    teacher runs on every batch instead. With several devices, a process is started for each, unless a launcher such as
    torchrun or srun has started them.

    Returns:
        The trained student in evaluation mode. After a dry run: the student with its initial weights.

    Raises:
        UserError: an argument is wrong, or no clip can be used.
        Stopped: a signal ended the run. `--resume` continues it.
    """
    options = _options(arguments, given)
    options.check()
    if not arguments.dry_run and starts_processes(options.engine):
        launch(options.engine, _run, arguments, given)
        return load_student(options.out, _package_of(options))
    return _run(arguments, given)


def _run(arguments: FitArguments, given: frozenset[str]) -> Student:
    """Train a student in this process, together with the processes of the launcher."""
    options = _options(arguments, given)
    with joined(options.engine, arguments.resume) as world:
        job = world.each(lambda: _prepared(arguments, options, world))
        world.check_same(job.marks)
        if arguments.dry_run:
            from distill.run.dry_run import dry_run

            world.first(lambda: dry_run(job))
            return job.parts.student.eval()
        run = Run(options.out)
        with world.held(lambda: lock(run.path, "distill fit")):
            if not arguments.resume:
                world.first(lambda: _begin(run, job))
            return job.train(arguments.resume)


def _options(arguments: FitArguments, given: frozenset[str]) -> FitOptions:
    """Return the options of the run: those of the folder if it is resumed, with the given ones."""
    stored = FitOptions.from_config(Run(arguments.out).config) if arguments.out and arguments.resume else None
    return arguments.options(stored, given)


def _prepared(arguments: FitArguments, options: FitOptions, world: World) -> Job:
    """Return the job. Raises UserError if it cannot run, or if the folder does not fit it."""
    options.check()
    run, job = Run(arguments.out), Job(options, world)
    if arguments.resume:
        check_same_run(FitOptions.from_config(run.config).as_config(), job.resolved.as_config())
    else:
        run.check_free(arguments.overwrite)
    return job


def _begin(run: Run, job: Job) -> None:
    """Clear the folder and write the configuration."""
    run.clear()
    run.write_config(job.resolved.as_config())


def _package_of(options: FitOptions) -> str | None:
    """Return the package of the student's own class, which the caller has named. None: it is not the user's own."""
    name = options.specs().student.name
    return name.partition(".")[0] if "." in name else None
