"""Rows of the benchmark that train with defaults: each returns lines of Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import distill
from experiments.real import process
from experiments.real.study import TASKS, Recipe, Record, Study, cores, new_student

_SMALL_PARAMETERS = 3_000_000
_SMALL_WIDTH = "0.3"  # of students that are larger with their default width
_HEAR_CROP = ("--crop.seconds", "6")  # as in experiments/hear: its longest input
_BUDGET_MINUTES = 120  # CPU minutes


class Goal(NamedTuple):
    """The goal of a row.

    Args:
        above_mel: Lowest difference of the mean of the tasks from that of mel statistics.
        minutes: Highest number of CPU minutes.
        share: Lowest share of the teacher's mean.
    """

    above_mel: float
    minutes: float
    share: float = 0.0

    def verdict(self, study: Study, recipe: Recipe) -> str:
        """Return the goal in words, and whether the runs of a recipe reach it."""
        records, mel = study.fits(recipe), study.baseline("mel")["mean"]
        reached = (
            mean_of(records) >= mel + self.above_mel
            and mean_of(records) >= self.share * study.baseline(recipe.teacher)["mean"]
            and statistics.mean(record["cpu_seconds"] for record in records) <= 60 * self.minutes
        )
        share = f", at least {self.share:g} of the teacher" if self.share else ""
        text = f"at least mel statistics + {self.above_mel:.2f}{share}, within {self.minutes:g} CPU minutes"
        return f"Goal: {text}: {'reached' if reached else 'missed'}."


def default(study: Study) -> list[str]:
    """Measure the shortest command."""
    return _with_goal(study, Recipe("default"), Goal(0.10, 20))


def budget(study: Study) -> list[str]:
    """Measure the shortest command with a budget of two CPU hours, shared by all cores."""
    minutes = _BUDGET_MINUTES // cores()
    recipe = Recipe("budget", words=("--budget", f"{minutes}min"))
    lines = _with_goal(study, recipe, Goal(0.12, _BUDGET_MINUTES, 0.92))
    return [*lines, f"The budget is {minutes} minutes on {cores()} cores."]


def birdnet(study: Study) -> list[str]:
    """Measure the shortest command with BirdNET."""
    return _with_goal(study, Recipe("BirdNET", "birdnet"), Goal(0.05, 20))


def mobilenet(study: Study) -> list[str]:
    """Measure MobileNetV3 with its own defaults."""
    recipe = Recipe("mobilenet_v3", words=("--student", "mobilenet_v3", "--student.width", "0.3"))
    return _with_goal(study, recipe, Goal(0.05, 60))


def _with_goal(study: Study, recipe: Recipe, goal: Goal) -> list[str]:
    """Train a recipe with all seeds, and return its table and whether the goal is reached."""
    return [*table_of(study, recipe.teacher, [(recipe.name, study.fits(recipe))]), goal.verdict(study, recipe)]


def hear(study: Study) -> list[str]:
    """Measure the two stages of HEAR. The tokenizer learns from the frames of the teacher."""
    words = ("--student", "hear_tokenizer", "--objective", "tokenizer", *_HEAR_CROP)
    tokenizer = Recipe("hear: stage 1", words=words, frames=True)
    rows = []
    for seed in study.seeds:
        first = study.fit(tokenizer, seed)
        folder = str(study.trained(tokenizer, seed))
        words = ("--student", "hear", "--objective", "masked_prediction", "--objective.tokenizer", folder)
        second = study.fit(Recipe("hear: stage 2", teacher="", words=(*words, *_HEAR_CROP)), seed)
        # The teacher's time counts to the whole.
        rows.append({**second, "cpu_seconds": first["cpu_seconds"] + second["cpu_seconds"]})
    lines = [*table_of(study, "musicnn", [("hear, after both stages", rows)]), "", _against_untrained(study, rows)]
    return [*lines, "Goal: above the untrained student by 3 standard errors of the test clips."]


def _against_untrained(study: Study, rows: Sequence[Record]) -> str:
    """Return the gain over the untrained student, in standard errors of the difference over the test clips."""
    untrained = [study.untrained(row["config"]["student"], row["seed"]) for row in rows]
    gain = mean_of(rows) - mean_of(untrained)
    error = (mean_error(rows[0]) ** 2 + mean_error(untrained[0]) ** 2) ** 0.5
    return f"Above untrained by {gain:.3f}: {gain / error:.1f} standard errors."


def mean_error(record: Record) -> float:
    """Return the standard error of the mean score, from the numbers of test clips."""
    squares = [score * (1 - score) / record["tests"][task] for task, score in record["scores"].items()]
    return sum(squares) ** 0.5 / len(squares)


def table_of(study: Study, teacher: str, groups: Sequence[tuple[str, Sequence[Record]]]) -> list[str]:
    """Return a table of groups of runs, with their untrained students, mel statistics and the teacher."""
    mel, whole = study.baseline("mel"), study.baseline(teacher)
    lines = [
        f"| encoder | parameters | steps | {' | '.join(TASKS)} | mean | above mel | of the teacher | CPU minutes |",
        "|" + "---|" * (len(TASKS) + 7),
    ]
    lines.append(_line("mel statistics", [mel], mel, whole))
    for name, records in groups:
        untrained = [study.untrained(record["config"]["student"], record["seed"]) for record in records]
        lines += [_line(f"{name}, untrained", untrained, mel, whole), _line(f"**{name}**", records, mel, whole)]
    return [*lines, _line(f"{teacher}, the teacher", [whole], mel, whole), ""]


def _line(name: str, records: Sequence[Record], mel: Record, whole: Record) -> str:
    scores = [spread([record["scores"][task] for record in records]) for task in TASKS]
    above, share = mean_of(records) - mel["mean"], mean_of(records) / whole["mean"]
    minutes = spread([r["cpu_seconds"] / 60 for r in records], 1) if "cpu_seconds" in records[0] else ""
    parameters = f"{records[0]['parameters']:,}" if records[0]["parameters"] else ""  # those of BirdNET are unknown
    cells = [name, parameters, str(records[0].get("steps", "")), *scores]
    cells += [spread([record["mean"] for record in records]), f"{above:+.3f}", f"{share:.2f}", minutes]
    return f"| {' | '.join(cells)} |"


def mean_of(records: Sequence[Record]) -> float:
    return statistics.mean(record["mean"] for record in records)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean and, of several values, the standard deviation."""
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def with_error(values: Sequence[float]) -> str:
    """Return the mean and, of several values, its standard error."""
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{error}"


def voices(study: Study) -> list[str]:
    """Probe a teacher of speakers on voices of a game, and mel statistics, by the commands that a user types."""
    record = study.once({"row": "voices", "encoder": "resemblyzer"}, lambda: _voices(study))
    lines = ["| encoder | voices |", "|---|---|"]
    lines += [f"| {name} | {score:.3f} |" for name, score in record["scores"].items()]
    said = [line for line in record["lines"] if "mel" in line]
    return [*lines, "", "Lines of `distill probe` and `distill report --compare` that name mel statistics:", "",
            *(f"    {line}" for line in said or ["none"]),
            "", "Goal: both commands state that the teacher is below mel statistics."]  # fmt: skip


def _voices(study: Study) -> Record:
    folder, data, scores, lines = study.out / "voices", str(study.table("voices")), {}, []
    for name in ("resemblyzer", "mel"):
        words = ["probe", *study.teacher_words(name), "--data", data, "--out", str(folder / name)]
        lines += process.distill(words, folder / f"{name}.log").last_lines
        scores[name] = json.loads((folder / name / "linear" / "result.json").read_text())["score"]
    words = ["report", "--compare", str(folder / "resemblyzer"), str(folder / "mel"), "--out", str(folder / "report")]
    lines += process.distill(words, folder / "report.log").last_lines
    return {"scores": scores, "lines": lines}


def small(study: Study) -> list[str]:
    """Train every shipped student of at most 3 M parameters on 96 clips of one second."""
    mel = study.baseline("mel")
    lines = [
        "| student | parameters | steps | cosine | mean | untrained | above mel | CPU minutes | last line |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for words in small_students():
        name = " ".join(words[1:]).replace("--student.", "")
        try:
            records = study.fits(Recipe(f"small: {name}", words=words, data="small"))
        except process.Failed as error:  # the other students do not depend on it
            lines.append(f"| {name} | | | | | | | | {str(error).splitlines()[-1].strip().replace('|', '/')} |")
            continue
        untrained = [study.untrained(record["config"]["student"], record["seed"]) for record in records]
        cells = [
            name,
            f"{records[0]['parameters']:,}",
            str(records[0]["steps"]),
            spread([record["cosine"] for record in records]),
            spread([record["mean"] for record in records]),
            spread([record["mean"] for record in untrained]),
            f"{mean_of(records) - mel['mean']:+.3f}",
            spread([record["cpu_seconds"] / 60 for record in records], 1),
            records[0]["last_lines"][-1].replace("|", "/"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    goal = "Goal: cosine below 0.95, above untrained, and at most 0.05 below mel statistics, or the last line says so."
    return [*lines, "", f"Mel statistics: {mel['mean']:.3f}. {goal}"]


def small_students() -> list[tuple[str, ...]]:
    """Return every registered student of at most 3 M parameters, as words; large ones with a small width."""
    chosen: list[tuple[str, ...]] = []
    for name in distill.list_students():
        try:
            student = new_student({"class_path": name}, 0)
        except distill.UserError:  # a classifier needs the labels of its data
            continue
        if student.parameter_count() <= _SMALL_PARAMETERS:
            chosen.append(("--student", name))
        elif student.spec is not None and "width" in student.spec.options:
            chosen.append(("--student", name, "--student.width", _SMALL_WIDTH))
    return chosen


def padding(study: Study) -> list[str]:
    """Measure the share of valid samples in the batches of the shortest command."""
    record = study.once({"row": "padding"}, lambda: _padding(study))
    valid, draws = record["valid"], record["draws"]
    again = "equal" if record["equal"] else "different"
    return [
        f"Valid samples: {valid:.3f} of the batches of one epoch (goal: at least 0.9).",
        f"Each of {draws['clips']} clips was drawn {draws['fewest']} to {draws['most']} times in {draws['all']} draws.",
        f"The same epoch, built again, was {again}.",
    ]


def _padding(study: Study) -> Record:
    from experiments.real.padding import measure_padding

    recipe = Recipe("default")
    study.fill(recipe, recipe.store)
    teacher, options = study.teacher_options(recipe.teacher)
    store = study.out / "stores" / recipe.store
    return measure_padding(teacher, options, study.table("pool"), store, Path(study.out / "padding"))
