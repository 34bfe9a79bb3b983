"""`distill fit`: train a student."""

from __future__ import annotations

import copy
from dataclasses import replace

from distill.commands.arguments import called_with
from distill.data.clips.sources import read_manifest
from distill.data.encoders.packed import pack
from distill.data.errors import UserError
from distill.data.files import lock
from distill.objectives import OBJECTIVES
from distill.run.folder import Run, with_full_paths
from distill.run.folds import ALL_FOLDS, fold_run, folds_of
from distill.run.job import Job
from distill.run.launcher import launch, starts_processes
from distill.run.options import FitArguments, FitOptions
from distill.run.resuming import Stopped, check_same_run
from distill.students.saved import load_student
from distill.students.student import Student
from distill.training.joining import joined
from distill.training.launched import launched
from distill.training.world import World


@called_with(FitArguments)
def fit(arguments: FitArguments, given: frozenset[str]) -> Student:
    """Distil a teacher into a student.

    The teacher's embeddings are computed once and stored. The student is trained to predict them. With `live` the
    teacher runs on every batch instead. With several devices, a process is started for each, unless a launcher such as
    torchrun or srun has started them.

    `fold` "all" trains a student on labels for each fold of the data, which its run holds out, in `fold_NAME` of `out`.
    Each is then scored on its fold, as by `distill evaluate --model OUT`.

    Returns:
        The trained student in evaluation mode; with `fold` "all" that of the last fold. After a dry run: the student
        with its initial weights.

    Raises:
        UserError: an argument is wrong, or no clip can be used.
        Stopped: a signal ended the run. `--resume` continues it.
    """
    options = _options(arguments, given)
    options.check()
    if options.fold == ALL_FOLDS:
        return _fit_folds(arguments, options, given)
    return _fit(arguments, options, given)


def _fit(arguments: FitArguments, options: FitOptions, given: frozenset[str]) -> Student:
    """Train one student, in this process or in one for each device."""
    if not arguments.dry_run and starts_processes(options.engine):
        launch(options.engine, _run, arguments, given)
        return load_student(options.out, _package_of(options))
    return _run(arguments, given)


def _fit_folds(arguments: FitArguments, options: FitOptions, given: frozenset[str]) -> Student:
    """Train a student for each fold, and score each on its fold. Runs that have ended are not repeated."""
    _check_all_folds(options)
    folds = folds_of(read_manifest(options.source, options.task).labelled())
    run = Run(options.out)
    if arguments.resume:
        given = _changed(FitOptions.from_config(run.config), options)
    else:
        run.check_free(arguments.overwrite)
    if arguments.dry_run:
        print(f"{len(folds)} folds; this is the run that holds out fold {folds[0]}")
        return _fit_fold(arguments, run, folds[0], given)
    with lock(run.path, "distill fit"):
        if not arguments.resume:
            run.clear()
        run.write_config(options.as_config())
        for number, fold in enumerate(folds, 1):
            print(f"fold {fold}, {number} of {len(folds)}")
            student = _fit_fold(arguments, run, fold, given)
    _score_folds(arguments, options)
    return student


def _check_all_folds(options: FitOptions) -> None:
    """Raise UserError if the folds of a run cannot be trained one after another, or not be scored."""
    objective = OBJECTIVES.parse(options.objective).name
    if not OBJECTIVES.find(objective).reads_labels:  # type: ignore[attr-defined]
        raise UserError(
            f"--fold {ALL_FOLDS}: --objective {objective} trains no classes that could be scored; use --objective "
            "classification, or name one fold"
        )
    if found := launched():
        raise UserError(f"--fold {ALL_FOLDS}: {found.launcher} starts the processes of one run; name one fold")


def _changed(before: FitOptions, now: FitOptions) -> frozenset[str]:
    """Return the names of the options that a resumed run gets anew. Raises UserError if one must not change."""
    old, new = with_full_paths(before.as_config()), with_full_paths(now.as_config())
    check_same_run(old, new)
    return frozenset(name for name in new if old.get(name) != new[name])


def _fit_fold(arguments: FitArguments, run: Run, fold: str, given: frozenset[str]) -> Student:
    """Train the student of one fold, or continue its run."""
    own = fold_run(run.path, fold)
    resumes = arguments.resume and (own.path / "config.yaml").is_file()
    student = copy.deepcopy(arguments.student)  # an object would have the weights of the fold before
    single = replace(arguments, out=str(own.path), fold=fold, student=student, resume=resumes)
    try:
        return _fit(single, _options(single, given | {"out"}), given | {"out"})
    except Stopped as stop:  # the command that it names must continue the other folds too
        message = str(stop).replace(f"--out {own.path}", f"--out {run.path}")
        raise Stopped(message, stop.signal_number) from stop


def _score_folds(arguments: FitArguments, options: FitOptions) -> None:
    """Score the students of all folds, each on its own, and say what the scores depend on."""
    from distill.commands.evaluate import evaluate

    if options.epochs is None:
        print("without --epochs the loss on the held-out fold may end a run, so its scores may be slightly too high")
    evaluate(
        options.out, options.source, task=options.task, workers=options.engine.workers,
        device="cpu" if options.engine.accelerator == "cpu" else "auto", allow_import=arguments.allow_import,
    )  # fmt: skip


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
            student = job.train(arguments.resume)
    pack(student)  # as `distill.load` returns it
    return student


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
