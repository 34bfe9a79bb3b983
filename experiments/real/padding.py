"""The share of valid samples in the training batches of `distill fit`, by the same order and the same loader."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from distill.data.clips.module import AudioData
from distill.data.sampling.batches import Draws
from distill.run.job import Job
from distill.run.options import FitOptions


def measure_padding(teacher: str, options: dict[str, str], data: Path, store: Path, out: Path) -> dict[str, Any]:
    """Return valid samples as a share of one epoch's batches, and how often clips are drawn.

    Args:
        teacher: Name of the teacher, whose store is complete.
        options: Its options.
        data: Table of the clips.
        store: Folder of the embeddings.
        out: Folder of a run that is never trained.
    """

    def epoch() -> tuple[AudioData, list[Draws]]:
        part = {"class_path": teacher, "init_args": options}
        job = Job(FitOptions(teacher=part, student="cnn", data=str(data), store=str(store), out=str(out)))
        made = job.data(job.parts.manifest, job.parts.student.sample_rate)
        count = -(-len(made.train_clips) // made.batch_size)
        return made, [draws for draws, _ in zip(made.sampler(), range(count), strict=False)]

    made, batches = epoch()
    valid = total = 0
    for draws in batches:
        if (batch := made.train_clips.__getitems__(draws).batch) is not None:
            valid, total = valid + int(batch.lengths.sum()), total + batch.waveform.numel()
    counts = Counter(row for draws in batches for row in draws.rows)
    again = [list(draws.rows) for draws in epoch()[1]]
    return {
        "valid": valid / total,
        "equal": again == [list(draws.rows) for draws in batches],
        "draws": {
            "clips": len(made.train_clips),
            "all": counts.total(),
            "fewest": min(counts.values()) if len(counts) == len(made.train_clips) else 0,
            "most": max(counts.values()),
        },
    }
