"""`fit --dry_run`: a trial of one batch, and an estimate of the cost of the run."""

from __future__ import annotations

import time
from collections.abc import Mapping

from distill.data.batch import AudioBatch
from distill.data.clips.dataset import ClipDataset
from distill.data.clips.manifest import Manifest
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws
from distill.data.sampling.clusters import Clustering
from distill.objectives.objective import Objective
from distill.run.embeddings import Rate, forecast
from distill.run.job import MORE_SOUND, Job
from distill.run.memory import peak_bytes
from distill.run.recipe import print_reasons, print_shares, steps_of_budget, training_seconds
from distill.run.sound_share import printing
from distill.training.trial import device_of, time_when_done


def dry_run(job: Job) -> None:
    """Run the first batch and print sizes, memory, speed, time and disk space. Write no file.

    Args:
        job: Prepared run.

    Raises:
        UserError: no clip of the first batch can be read.
    """
    options, parts = job.options, job.parts
    rates = [encoder.sample_rate for encoder in (parts.student, *parts.teachers.values())]
    clips = ClipDataset(parts.manifest, max(rates), job.plan.crop, parts.manifest.classes, options.seed)
    first = range(min(job.plan.batch_size, len(clips)))
    begin = time.perf_counter()
    loaded = clips.__getitems__(Draws(first, first))
    decoding_seconds = time.perf_counter() - begin
    batch = loaded.batch
    if batch is None:
        raise UserError(f"no clip of the first batch could be read; the first: {loaded.set_aside[0].reason}")
    device = device_of(options.engine)
    for teacher in parts.teachers.values():
        teacher.to(device)
    teachers = {
        name: forecast(teacher, batch, len(parts.manifest), job.reads_frames)
        for name, teacher in parts.teachers.items()
    }
    objective = parts.build_objective(parts.teachers, options.seed)
    if objective.needs_clusters:
        objective.clusters = Clustering.single(batch.ids)  # the time does not depend on the clusters
    step_seconds = _step_seconds(objective.to(device), batch.to(device))
    if not options.live:  # the run reads stored embeddings instead
        teacher_seconds = sum(len(batch) / rate.clips_per_second for rate in teachers.values())
        step_seconds = max(step_seconds - teacher_seconds, 1e-6)
    print(parts.introduction())
    print_reasons(job.plan)
    print_shares(job.plan, max(job.world.size, options.engine.devices * options.engine.num_nodes))
    if job.plan.crop.position != "random":
        printing(job.plan.crop, MORE_SOUND, "of sound in the first batch")(loaded.seconds)
    _print_forecast(job, parts.manifest, teachers, decoding_seconds / len(batch), step_seconds / len(batch))


def _print_forecast(job: Job, manifest: Manifest, teachers: Mapping[str, Rate], decoding: float, step: float) -> None:
    """Print rates and totals. `decoding` and `step` are in seconds per clip."""
    options, amounts = job.options, job.plan
    epoch = max(1, (options.sampling.draws or len(manifest)) // amounts.batch_size)
    embedding = 0.0 if options.live else sum(rate.seconds for rate in teachers.values())
    counts = [count for count in (amounts.steps, (options.epochs or 0) * epoch) if count]
    if options.budget:
        left = training_seconds(options.budget, embedding)
        possible = steps_of_budget(left, amounts.batch_size * step, len(manifest), amounts.batch_size)
        counts = [possible, *(counts if options.max_steps or options.epochs else [])]
    steps = min(counts)
    disk = 0.0 if options.live else sum(rate.bytes for rate in teachers.values()) / 2**20
    total = steps * amounts.batch_size * step + embedding
    print(f"decoding {1 / decoding:.1f} clips/s")
    for name, rate in teachers.items():
        print(f"{name} forward {rate.clips_per_second:.1f} clips/s")
    print(f"training step {1 / step:.1f} clips/s")
    print(f"memory now {peak_bytes() / 2**30:.2f} GiB; embeddings {disk:.1f} MiB on disk")
    print(f"about {total / 60:.1f} minutes for {steps:,} steps in {steps / epoch:.3g} epochs here; nothing was written")


def _step_seconds(objective: Objective, batch: AudioBatch) -> float:
    """Return the seconds of one forward and backward pass on the device of the batch, measured on the second of two."""
    seconds, device = 0.0, batch.waveform.device
    for _ in range(2):
        begin = time_when_done(device)
        objective.total(objective(batch)).backward()
        seconds = time_when_done(device) - begin
        objective.zero_grad()
    return seconds
