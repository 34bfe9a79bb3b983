"""Row of the benchmark: two specialised teachers, weighted by the domain of each clip."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import distill
from distill.data.encoders.encoder import Encoder
from experiments.real.labels import family, instrument, note
from experiments.real.pitch import Notes
from experiments.real.rows import with_error
from experiments.real.study import TASKS, Recipe, Record, Study

_SPECIALIST, _GENERAL = "Crepe", "musicnn"  # as `distill fit` names the teachers
_DOMAINS = {"notes": _SPECIALIST, "rest": _GENERAL}
_TEACHERS, _DATA = "musicnn+crepe", "pool_domains"
# The default with musicnn. That of CREPE is longer, and the students must have the same.
_CROP = ("--crop.seconds", "3")
_BY_DOMAIN = "both teachers, weights by domain"
_BOTH = {
    "both teachers, equal weights": _CROP,
    _BY_DOMAIN: (*_CROP, "--objective.domains", json.dumps(_DOMAINS)),
}


def specialists(study: Study) -> list[str]:
    """Distil a pitch tracker and a tagger of music together: with equal weights, by domain, and each alone."""
    notes = write_domains(study)
    groups = {name: _measured(study, Recipe(name, _TEACHERS, words, _DATA)) for name, words in _BOTH.items()}
    for teacher in (_GENERAL, _SPECIALIST):
        store = study.out / "stores" / f"{_TEACHERS}_{_DATA}" / teacher
        words = ("--teacher", "precomputed", "--teacher.store", str(store), *_CROP)
        groups[f"{teacher} alone"] = _measured(study, Recipe(f"{teacher} alone", "", words, _DATA))
    baselines = {name: [_baseline(study, name)] for name in ("mel", "musicnn", "crepe")}
    lines = [f"| encoder | {' | '.join(TASKS)} | pitch | mean | CPU minutes |", "|" + "---|" * (len(TASKS) + 4)]
    lines += [_line(name, records) for name, records in (groups | baselines).items()]
    return [*lines, "", f"{notes} of the clips are of the domain of {_SPECIALIST}.", *_verdicts(groups)]


def write_domains(study: Study) -> int:
    """Write a table with a column of domains, and return the number of single notes.

    Few clips of the pool are notes. So its clips are joined by all further notes of `pool_all.csv`, but those of the
    instruments on which pitch is tested.
    """
    with open(study.table("pool"), newline="") as file:
        header, *pool = csv.reader(file)
    with open(study.sounds / "pool_all.csv", newline="") as file:
        _, *everything = csv.reader(file)
    known = {row[0] for row in pool}
    tested = {instrument(Path(row[0])) for row in everything if note(Path(row[0])).part == "test"}
    others = (row for row in everything if row[0] not in known and instrument(Path(row[0])) not in tested)
    rows = [*pool, *(row for row in others if _is_note(row))]
    domains = ["notes" if _is_note(row) else "rest" for row in rows]
    with open(study.sounds / f"{_DATA}.csv", "w", newline="") as file:
        lines = ([*row, domain] for row, domain in zip(rows, domains, strict=True))
        csv.writer(file, lineterminator="\n").writerows([[*header, "domain"], *lines])
    return domains.count("notes")


def _is_note(row: Sequence[str]) -> bool:
    """Return whether a row of a table is the sample of an instrument. Its first column is the path."""
    path = Path(row[0])
    return bool(family(path).label or note(path).label)


def _measured(study: Study, recipe: Recipe) -> list[Record]:
    """Return the scores of all tasks of a recipe with every seed."""
    return [_with_pitch(study, study.fit(recipe, seed), _student(study, recipe, seed)) for seed in study.seeds]


def _student(study: Study, recipe: Recipe, seed: int) -> Encoder:
    return distill.load(str(study.trained(recipe, seed)))


def _baseline(study: Study, name: str) -> Record:
    return _with_pitch(study, study.baseline(name), study.encoder(name))


def _with_pitch(study: Study, record: Record, encoder: Encoder) -> Record:
    """Return a record with the pitch of notes too, and the mean of all tasks."""
    described = {"row": "specialists", "encoder": record["key"]}
    pitch = study.once(described, lambda: {"pitch": Notes(study).score(encoder)})["pitch"]
    scores = {**record["scores"], "pitch": pitch}
    return {**record, "scores": scores, "mean": statistics.mean(scores.values())}


def _line(name: str, records: Sequence[Record]) -> str:
    cells = [with_error([record["scores"][task] for record in records]) for task in (*TASKS, "pitch")]
    minutes = [record["cpu_seconds"] / 60 for record in records if "cpu_seconds" in record]
    cells += [with_error([record["mean"] for record in records]), f"{statistics.mean(minutes):.1f}" if minutes else ""]
    return f"| {name} | {' | '.join(cells)} |"


def _verdicts(groups: dict[str, list[Record]]) -> list[str]:
    """Return the difference of weights by domain from every other group, paired by seed, in standard errors."""
    lines = []
    for name, records in groups.items():
        if name != _BY_DOMAIN:
            gains = [mine["mean"] - other["mean"] for mine, other in zip(groups[_BY_DOMAIN], records, strict=True)]
            lines.append(f"Weights by domain above {name} by {with_error(gains)}.")
    return [*lines, "Goal: above equal weights by one standard error, and above each teacher alone."]
