"""Row of the benchmark: which teacher `distill rank` puts first on each task, and whether its student is the best."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from typing import Any

import distill
from experiments.real import process
from experiments.real.rows import with_error
from experiments.real.study import TASKS, Recipe, Record, Study

_TEACHERS = "musicnn+resemblyzer+crepe+birdnet"
_TABLES = {name: name for name in ("voices", *TASKS)} | {"pitch": "notes"}  # by the name of the task
_STUDENTS = {  # the default student of each teacher, by the teacher's name in `distill rank`
    "musicnn": Recipe("default"),
    "VoiceEncoder": Recipe("Resemblyzer", "resemblyzer"),
    "Crepe": Recipe("crepe: clips", "crepe", ("--student", "cnn")),
    "BirdNET": Recipe("BirdNET", "birdnet"),
}
_NAMES = {"tflite": "BirdNET"}  # of teachers that `distill rank` names by their kind of file
_FEWEST_AGREEING = 3  # tasks on which the best student is to be that of the first teacher


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
        *_of_students(study, {task: record for task, record in records.items() if task != "voices"}),
        "",
        "Lines of `distill rank` on voices:",
        "",
        *(f"    {line}" for line in records["voices"]["lines"] if "mel statistics on" in line or "take" in line),
    ]


def _of_students(study: Study, records: Mapping[str, Record]) -> list[str]:
    """Return a table of the students of all teachers, and how often the first teacher has the best student."""
    scores = {
        name: [_student_scores(study, recipe, seed) for seed in study.seeds] for name, recipe in _STUDENTS.items()
    }
    lines = [f"| task | {' | '.join(scores)} | best student | first teacher |", "|" + "---|" * (len(scores) + 3)]
    agreeing = []
    for task, record in records.items():
        means = {name: statistics.mean(found[task] for found in rows) for name, rows in scores.items()}
        best, first = max(means, key=lambda name: means[name]), _first_teacher(record)
        agreeing += [task] * (best == first)
        cells = [with_error([found[task] for found in rows]) for rows in scores.values()]
        lines.append(f"| {' | '.join([task, *cells, best, first])} |")
    reached = "reached" if len(agreeing) >= _FEWEST_AGREEING else "missed"
    return [
        "The students of these teachers, each by the shortest command, in the linear probe of clips:",
        "",
        *lines,
        "",
        f"The teacher that the probe puts first has the best student on {len(agreeing)} of {len(records)} tasks. "
        f"Goal: at least {_FEWEST_AGREEING}: {reached}.",
    ]


def _student_scores(study: Study, recipe: Recipe, seed: int) -> dict[str, float]:
    """Return the score of each task of the student of a recipe."""
    record = study.fit(recipe, seed)

    def pitch() -> Record:
        return study.scores(distill.load(str(study.trained(recipe, seed))), ("notes",))

    notes = study.once({"row": "teachers", "encoder": record["key"], "task": "notes"}, pitch)
    return {**record["scores"], "pitch": notes["scores"]["notes"]}


def _first_teacher(record: Record) -> str:
    """Return the name of the teacher with the highest probe."""
    found = record["teachers"]
    return str(max(found, key=lambda name: found[name]["probe"]["value"]))


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
        "take": _NAMES.get(found["take"], found["take"]),
        "mel": _scores(found["mel"]),
        "teachers": {_NAMES.get(one["name"], one["name"]): _scores(one) for one in found["teachers"]},
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
