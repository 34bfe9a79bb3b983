"""Row of the benchmark: does a student answer in the space of its teacher?"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import distill
from distill.data.clips.sources import read_manifest
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.quality import recalls
from distill.run.held_out import part_clips
from experiments.real.rows import with_error
from experiments.real.study import Recipe, Record, Study

_HELD_OUT = 0.25
_GOAL, _MINUTES = 0.9, 120
_RECIPE = Recipe("space", words=("--validation", str(_HELD_OUT)))


def space(study: Study) -> list[str]:
    """Search the teacher's vectors of the held-out clips with the student's vectors of the same clips."""
    rows = []
    for seed in study.seeds:
        measured = {"row": "space", "encoder": "student", "seed": seed, **_RECIPE._asdict()}
        rows.append(study.once(measured, lambda: _recalls(study, study.trained(_RECIPE, seed))))  # noqa: B023
    names = [name for name in rows[0] if name.startswith("recall")]
    lines = ["| own teacher vector, by the cosine of | recall@1 | recall@10 |", "|---|---|---|"]
    for kind in ("raw", "standardised"):
        cells = [with_error([row[name] for row in rows]) for name in names if name.endswith(kind)]
        lines.append(f"| {kind} vectors | {' | '.join(cells)} |")
    reached = statistics.mean(row["recall_10_standardised"] for row in rows) >= _GOAL
    minutes = statistics.mean(row["cpu_minutes"] for row in rows)
    return [
        *lines,
        "",
        "The query is the student's vector in the space of musicnn. The index holds musicnn's own vectors of the "
        f"{rows[0]['clips_held_out']:,} held-out clips. {minutes:.1f} CPU minutes. Goal: recall@10 of {_GOAL:g} "
        f"within {_MINUTES} CPU minutes: {'reached' if reached and minutes <= _MINUTES else 'missed'}.",
    ]


def _recalls(study: Study, run: Path) -> Record:
    table = study.table("pool")
    ids = list(part_clips(read_manifest(table), "", _HELD_OUT).held_out.ids)
    teacher = EmbeddingStore(study.out / "stores" / _RECIPE.store)
    ids = [clip for clip, row in zip(ids, teacher.rows_of(ids).tolist(), strict=True) if row >= 0]
    student = distill.embed(str(table), str(run / "space"), model=str(run), space="musicnn", dtype="float32", workers=0)
    queries, index = student[ids], teacher[ids]
    minutes = json.loads((run / "ended.json").read_text())["cpu_seconds"] / 60
    standardised = recalls(queries, index)
    return {
        "clips_held_out": len(ids),
        "cpu_minutes": minutes,
        "recall_1_raw": recall(queries, index, 1),
        "recall_10_raw": recall(queries, index, 10),
        "recall_1_standardised": standardised.recall_1,
        "recall_10_standardised": standardised.recall_10,
    }


def recall(queries: NDArray[np.float32], index: NDArray[np.float32], count: int) -> float:
    """Return the share of the queries (N, D) whose own row of the index (N, D) is among the `count` nearest.

    Rows are compared by their cosine. Equal cosines count against a query.
    """
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (queries, index))
    cosines = first @ second.T
    ranks = (cosines >= np.diag(cosines)[:, None]).sum(1)
    return float((ranks <= count).mean())
