"""Row of the benchmark: which teacher `distill rank` puts first on each task, with the labels and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

from experiments.real import process
from experiments.real.study import TASKS, Record, Study

_TEACHERS = "musicnn+resemblyzer+crepe+birdnet"
_TABLES = {name: name for name in ("voices", *TASKS)} | {"pitch": "notes"}  # by the name of the task


def teachers(study: Study) -> list[str]:
    """Rank four teachers on five tasks, by the command that a user types."""
    records = {task: _ranked(study, task, table) for task, table in _TABLES.items()}
    names = sorted(records["voices"]["teachers"])
    lines = [
        f"| task | mel statistics | {' | '.join(names)} | first by the probe | first by the crops | to take |",
        "|" + "---|" * (len(names) + 5),
    ]
    for task, record in records.items():
        cells = [_cell(record["mel"]), *(_cell(record["teachers"][name]) for name in names)]
        firsts = [_first(record, "probe"), _first(record, "crops"), record["take"] or "none"]
        lines.append(f"| {' | '.join([task, *cells, *firsts])} |")
    agreeing = [task for task, record in records.items() if _first(record, "probe") == _first(record, "crops")]
    agreed = f"{len(agreeing)} of {len(records)} tasks"
    return [
        *lines,
        "",
        "A cell is the score of the linear probe, then the recall@1 of the second half of a clip by its first half.",
        f"Without labels the same is first on {agreed}: {', '.join(agreeing) or 'none'}.",
        "",
        "Lines of `distill rank` on voices:",
        "",
        *(f"    {line}" for line in records["voices"]["lines"] if "mel statistics on" in line or "take" in line),
    ]


def _ranked(study: Study, task: str, table: str) -> Record:
    """Return the scores of `distill rank` on a task."""
    measured = {"row": "teachers", "task": task, "teachers": _TEACHERS}
    return study.once(measured, lambda: _rank(study, task, table))


def _rank(study: Study, task: str, table: str) -> Record:
    folder = study.out / "rank" / task
    words = ["rank", *study.teacher_words(_TEACHERS), "--data", str(study.table(table)), "--out", str(folder)]
    ended = process.distill(words, folder.with_suffix(".log"))
    found = json.loads((folder / "rank.json").read_text())
    shutil.rmtree(folder)
    return {
        "sample": found["sample"],
        "take": found["take"],
        "mel": _scores(found["mel"]),
        "teachers": {teacher["name"]: _scores(teacher) for teacher in found["teachers"]},
        "lines": ended.last_lines,
    }


def _scores(encoder: Mapping[str, Any]) -> Record:
    """Return the scores, the effective rank and the time for a second of sound of an encoder."""
    milliseconds = 1000 * encoder["cost"]["latency"] / encoder["cost"]["seconds"]
    return {name: encoder[name] for name in ("probe", "crops", "effective_rank")} | {"milliseconds": milliseconds}


def _cell(scores: Record) -> str:
    return f"{scores['probe']['value']:.3f}, {scores['crops']['value']:.3f}"


def _first(record: Record, score: str) -> str:
    """Return the name of the teacher with the highest score; mel statistics if they are above all."""
    encoders = {"mel statistics": record["mel"], **record["teachers"]}
    return str(max(encoders, key=lambda name: encoders[name][score]["value"]))
