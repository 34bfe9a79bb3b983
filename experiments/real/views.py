"""Row of the benchmark: the teacher's embedding of the student's own input, live and from a store of views."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.real import process
from experiments.real.rows import mean_error, mean_of, with_error
from experiments.real.study import TASKS, Recipe, Record, Study

_STEPS = ("--max_steps", "600")  # a live teacher takes several times the time of its student
_GAIN, _COUNT = "6", 4
_SECONDS = ("--crop.seconds", "3")  # the window of the teacher
_VIEWS = ("--views.count", str(_COUNT), "--views.gain", _GAIN, "--views.roll", "true")
_SAME = ("--objective.teacher_input", "same")
_AUGMENTED = ("--objective.augmentation.gain", _GAIN, "--objective.augmentation.roll", "true")
_LIVE = ("--live", "true", *_SECONDS, "--crop.position", "random", *_AUGMENTED)


def views(study: Study) -> list[str]:
    """Distil musicnn from clean embeddings, live from the student's input, and from stored embeddings of four views."""
    store = _fill(study)
    stored = ("--teacher", "precomputed", "--teacher.store", str(store), *_STEPS)
    clean, live, cached = (
        study.fits(Recipe(name, teacher, words))
        for name, teacher, words in (
            ("views: clean cache", "", stored),
            ("views: live, the same input", "musicnn", (*_LIVE, *_SAME, *_STEPS)),
            (f"views: {_COUNT} stored views", "", (*stored, *_SAME)),
        )
    )
    lines = [f"| input of the teacher | {' | '.join(TASKS)} | mean | CPU ms a step |", "|" + "---|" * (len(TASKS) + 3)]
    lines += [_line(records) for records in (clean, cached, live)]
    gain, kept = mean_of(live) - mean_of(clean), mean_of(cached) - mean_of(clean)
    ratio = step_seconds(cached) / step_seconds(clean)
    return [
        *lines,
        "",
        f"Live is above clean by {gain:+.3f} (2 standard errors: {2 * _error(live, clean):.3f}), the views by "
        f"{kept:+.3f}, at {ratio:.2f} of its time of a step: that of the command, divided by its steps.",
        "Goal: if live gains more than 2 standard errors, the views keep half of the gain, at 1.1 of that time.",
    ]


def _fill(study: Study) -> Path:
    """Embed the views of the pool, and return the folder of their store."""
    store = study.out / "stores" / "musicnn_pool_views"
    words = ["embed", "--teacher", "musicnn", "--data", str(study.table("pool")), "--out", str(store)]

    def fill() -> Record:
        return process.distill([*words, *_SECONDS, *_VIEWS], store.with_suffix(".log"))._asdict()

    study.once({"row": "store", "store": store.name, "words": _VIEWS}, fill)
    return store


def _line(records: Sequence[Record]) -> str:
    cells = [with_error([record["scores"][task] for record in records]) for task in TASKS]
    cells += [with_error([record["mean"] for record in records]), f"{1000 * step_seconds(records):.0f}"]
    return f"| {records[0]['row'].removeprefix('views: ')} | {' | '.join(cells)} |"


def step_seconds(records: Sequence[Record]) -> float:
    """Return the CPU seconds of runs, divided by their steps."""
    return statistics.mean(record["cpu_seconds"] / record["steps"] for record in records)


def _error(first: Sequence[Record], second: Sequence[Record]) -> float:
    """Return the standard error of the difference of two means: over the seeds, or over the test clips with one."""
    gains = [mine["mean"] - other["mean"] for mine, other in zip(first, second, strict=True)]
    if len(gains) > 1:
        return statistics.stdev(gains) / len(gains) ** 0.5
    return (mean_error(first[0]) ** 2 + mean_error(second[0]) ** 2) ** 0.5
