"""`fit --dry_run`: one batch through everything, and what the run would take."""

from __future__ import annotations

import time

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset
from distill.data.errors import UserError
from distill.data.sampling.orders import Draws
from distill.objectives.objective import Objective
from distill.run.embeddings import Rate, forecast
from distill.run.job import Job
from distill.run.memory import peak_bytes


def dry_run(job: Job) -> None:
    """Try the first batch and print sizes, memory, speed, time and disk. Writes nothing.

    Raises:
        UserError: no clip of the first batch can be read.
    """
    rates = [encoder.sample_rate for encoder in (job.student, *job.teachers.values())]
    clips = ClipDataset(job.manifest, max(rates), job.crop, job.manifest.classes, job.seed)
    first = range(min(job.batch_size, len(clips)))
    begin = time.perf_counter()
    loaded = clips.__getitems__(Draws(first, first))
    decoding = time.perf_counter() - begin
    if loaded.batch is None:
        raise UserError(f"no clip of the first batch could be read; the first: {loaded.set_aside[0].reason}")
    clips_in_all = len(job.manifest)
    teachers = [forecast(teacher, loaded.batch, clips_in_all, job.reads_frames) for teacher in job.teachers.values()]
    objective = job.objective(job.teachers)
    if objective.needs_clusters:
        objective.clusters = dict.fromkeys(loaded.batch.ids, 0)  # which ones takes no other time
    seconds = _step_seconds(objective, loaded.batch)
    if not job.live:  # the run reads what the teachers have said
        seconds = max(seconds - sum(len(loaded.batch) / rate.clips_per_second for rate in teachers), 1e-6)
    print(job.introduction())
    _print_forecast(job, teachers, decoding, seconds, len(loaded.batch))


def _print_forecast(job: Job, teachers: list[Rate], decoding: float, step: float, clips: int) -> None:
    steps = job.epochs * max(1, (job.sampling.draws or len(job.manifest)) // job.batch_size)
    total = steps * step + (0.0 if job.live else sum(rate.seconds for rate in teachers))
    memory = peak_bytes() / 2**30
    disk = 0.0 if job.live else sum(rate.bytes for rate in teachers) / 2**20
    classes = len(job.manifest.classes)
    print(f"data: {len(job.manifest):,} clips, {classes} classes; decoding {clips / decoding:.1f} clips/s")
    for name, rate in zip(job.teachers, teachers, strict=True):
        print(f"{name} forward {rate.clips_per_second:.1f} clips/s")
    print(f"training step {clips / step:.1f} clips/s")
    print(f"memory now {memory:.2f} GiB; embeddings {disk:.1f} MiB on disk")
    print(f"about {total / 60:.1f} minutes for {steps:,} steps in {job.epochs} epochs here; nothing was written")


def _step_seconds(objective: Objective, batch: AudioBatch) -> float:
    """Time of one forward and backward pass, the second of two."""
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        objective.total(objective(batch)).backward()
        seconds = time.perf_counter() - begin
        objective.zero_grad()
    return seconds
