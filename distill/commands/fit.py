"""`distill fit`: train a student, from a folder of sounds to a model that loads anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from distill.data.clips.dataset import Crop
from distill.data.encoders.registry import Written
from distill.data.errors import UserError
from distill.data.files import lock
from distill.data.sampling.weights import Sampling
from distill.run.dry_run import dry_run as try_one_batch
from distill.run.folder import Run
from distill.run.job import Job
from distill.students.student import Student
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine
from distill.training.optimizer import Optimizer


def fit(
    teacher: Written | Teacher | Sequence[Written | Teacher] | None = None,
    student: Written | Student | None = None,
    data: str = "",
    out: str = "",
    objective: Written = "embedding",
    epochs: int = 10,
    batch_size: int = 32,
    crop: Crop = Crop(),
    sampling: Sampling = Sampling(),
    optimizer: Optimizer = Optimizer(),
    engine: Engine = Engine(),
    live: bool = False,
    store: str = "",
    validation: float = 0.05,
    fold: str = "",
    task: str = "auto",
    seed: int = 0,
    init_from: str = "",
    resume: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    allow_import: str | None = None,
) -> Student | None:
    """Distil a teacher into a student.

    The teacher's embeddings are computed once and kept, then the student learns from them; with `live` the teacher
    runs on every batch instead.

    Args:
        teacher: Encoder to imitate, or several: a registered name, an import path, or an object.
        student: Encoder to train: likewise.
        data: Folder of audio, table of clips, or a data set in its published layout.
        out: Run folder.
        objective: What is learned.
        epochs: Passes over the data.
        batch_size: Clips in a batch, over all devices together.
        crop: Part of each clip that is used.
        sampling: How clips are drawn.
        optimizer: AdamW and its schedule.
        engine: Devices, precision, workers.
        live: Run the teacher on every batch; needed for random crops.
        store: Folder that keeps the teacher's embeddings between runs; by default `embeddings` in the run.
        validation: Share of the clips that is not trained on but watched.
        fold: Fold or split of the data that is not trained on but watched, in the place of a share.
        task: Data set that the folder must be, such as "speech_commands_v1"; "auto" finds out.
        seed: Of weights, order, crops and dropout.
        init_from: Run whose student's weights a new run begins with.
        resume: Go on with the run in `out`; its own arguments are used where none are given.
        overwrite: Delete the run in `out` and begin again.
        dry_run: Load everything, try one batch forward and backward, say what the run would take, write nothing.
        allow_import: Package of own classes that a file may name.

    Returns:
        The trained student in evaluation mode; None after a dry run.

    Raises:
        UserError: a mistake in the arguments, before anything is written.
        Stopped: a signal ended the run; `--resume` goes on.
    """
    settings: dict[str, Any] = dict(  # noqa: C408
        teacher=teacher, student=student, data=data, out=out, objective=objective, epochs=epochs,
        batch_size=batch_size, crop=crop, sampling=sampling, optimizer=optimizer, engine=engine, live=live,
        store=store, validation=validation, fold=fold, task=task, seed=seed, init_from=init_from,
    )  # fmt: skip
    if not out:
        raise UserError("--out RUN is wanted: the folder of the run")
    run = Run(out)
    if resume and student is None:
        usual = inspect.signature(fit).parameters
        settings = run.config | {name: value for name, value in settings.items() if value != usual[name].default}
    _check(settings)
    job = Job(run, settings)
    if resume:
        job.check_same_run()
    else:
        run.check_free(overwrite)
    if dry_run:
        try_one_batch(job)
        return None
    with lock(run.path, "distill fit"):
        if not resume:
            run.clear()
            run.write_config(job.config)
        return job.train(resume)


def _check(settings: Mapping[str, Any]) -> None:
    """Refuse what no run can be made of, before anything heavy is loaded."""
    for name in ("student", "data"):
        if not settings[name]:
            raise UserError(f"--{name} is wanted; `distill fit --help` shows how")
    for name in ("epochs", "batch_size"):
        if settings[name] < 1:
            raise UserError(f"--{name} {settings[name]}: at least 1 is wanted")
    if not 0 <= settings["validation"] < 1:
        raise UserError(f"--validation {settings['validation']}: a share from 0 to below 1 is wanted")
