"""Rows of the benchmark that change the recipe: one thing at a time, and checkpoints that are ranked without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

import distill
from distill.losses import LOSSES
from distill.objectives.embedding import PROJECTORS, TARGET_TRANSFORMS
from experiments.real.process import Failed
from experiments.real.rows import mean_of, spread
from experiments.real.study import Recipe, Record, Study, common_neighbours

_NEAR = 0.02  # cells within this of the default are measured with all seeds
_SHORT = ("--max_steps", "600")
_RANKED_STEPS = (30, 100, 300, 600)
_STUDENTS = (
    *(("cnn", {"width": width}) for width in ("0.3", "0.6", "1.0", "1.6")),
    *(("bc_resnet", {"width": width}) for width in ("1.0", "3.0")),
    ("mobilenet_v3", {"width": "0.3"}),
    ("mobilenet_v3", {"width": "0.3", "rows": "4"}),
)
_MOBILENET = ("--student", "mobilenet_v3", "--student.width", "0.3")
_RANKED = {
    "default": (),
    "raw targets, MLP": ("--objective.targets", "raw", "--objective.projector", "mlp"),
    "whitened": ("--objective.targets", "whitened"),
    "mse": ("--objective.loss", "mse"),
    "low rate": ("--optimizer.learning_rate", "3e-4"),
    "mobilenet_v3": _MOBILENET,
    "mobilenet_v3, raw targets, MLP": (*_MOBILENET, "--objective.targets", "raw", "--objective.projector", "mlp"),
}


def ablation(study: Study) -> list[str]:
    """Change one thing of the default at a time: one seed a cell, all seeds for the default and the cells near it.

    All runs are shorter than the default, so that the row takes an hour and not a day.
    """
    standard = study.fits(Recipe("ablation: default", words=_SHORT))
    lines = ["| change | value | mean of the tasks | below the default | CPU minutes |", "|---|---|---|---|---|"]
    lines.append(_cell("default", "", standard, standard))
    failed = []
    for name, value, words in cells(standard[0]):
        recipe = Recipe(f"ablation: {name} {value}", words=words if name == "steps" else (*words, *_SHORT))
        try:
            records = [study.fit(recipe, study.seeds[0])]
            if mean_of(records) >= mean_of(standard) - _NEAR:
                records = study.fits(recipe)
        except Failed as error:
            failed.append(f"{name} {value}: {str(error).splitlines()[-1].strip()}")
            continue
        lines.append(_cell(name, value, records, standard))
    lines += ["", *(f"Not measured: {reason}" for reason in failed)]
    lines.append(f"Every run has {_SHORT[1]} steps, but those that change the steps.")
    return [*lines, "Goal: no cell is above the default by more than one standard error."]


def _cell(name: str, value: str, records: Sequence[Record], standard: Sequence[Record]) -> str:
    minutes = spread([record["cpu_seconds"] / 60 for record in records], 1)
    below = mean_of(standard) - mean_of(records)
    return f"| {name} | {value} | {spread([record['mean'] for record in records])} | {below:.3f} | {minutes} |"


def cells(standard: Record) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield name, value and words of each change, without the values that the default has already.

    Args:
        standard: Record of a run with the defaults, whose config.yaml has their values.
    """
    objective = standard["config"]["objective"]["init_args"]
    for option, values in (
        ("targets", tuple(name for name in TARGET_TRANSFORMS if name != "auto")),
        ("projector", PROJECTORS),
        ("loss", tuple(LOSSES.names())),
    ):
        for value in values:
            if _name(objective.get(option)) != value:
                yield option, value, (f"--objective.{option}", value)
    for value in ("0.0", "0.3", "1.0"):
        if float((objective.get("augmentation") or {}).get("mixup", 0.0)) != float(value):
            yield "mixup", value, ("--objective.augmentation.mixup", value)
    rate = standard["config"]["optimizer"]["learning_rate"]
    for factor in (0.3, 3.0):
        yield "rate", f"{rate * factor:.2g}", ("--optimizer.learning_rate", f"{rate * factor:.3g}")
    for factor in (0.5, 2.0):
        steps = str(round(standard["steps"] * factor))
        yield "steps", steps, ("--max_steps", steps)
    yield from _students(standard["config"]["student"])


def _students(standard: dict[str, Any]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield the small convolutional students that are not the default."""
    for name, options in _STUDENTS:
        own = {key: str(value) for key, value in standard["init_args"].items() if key in options}
        if name in distill.list_students() and (name, options) != (standard["class_path"], own):
            words = tuple(word for key, value in options.items() for word in (f"--student.{key}", value))
            yield "student", " ".join([name, *words]).replace("--student.", ""), ("--student", name, *words)


def _name(written: Any) -> str:
    """Return the name of a part in config.yaml."""
    return str(written["class_path"] if isinstance(written, dict) else written)


def rank(study: Study) -> list[str]:
    """Compare the first number of the quality report with the probe, over checkpoints of several recipes."""
    lines = ["| teacher | checkpoints | recipes | students | Spearman |", "|---|---|---|---|---|"]
    for teacher in ("musicnn", "birdnet" if find_spec("ai_edge_litert") else "crepe"):
        points = []
        for name, words in _RANKED.items():
            for steps in _RANKED_STEPS:
                record = study.fit(ranked(teacher, name, words, steps), study.seeds[0])
                if (shared := common_neighbours(record)) is not None:
                    points.append((shared, record["mean"]))
        value = f"{spearman(*zip(*points, strict=True)):.2f}" if len(points) > 1 else "no quality report"
        lines.append(f"| {teacher} | {len(points)} | {len(_RANKED)} | 2 | {value} |")
    return [*lines, "", "Goal: at least 0.9 for each teacher."]


def ranked(teacher: str, name: str, words: tuple[str, ...], steps: int) -> Recipe:
    """Return the recipe of a checkpoint after some steps, each with its own schedule."""
    return Recipe(f"rank: {name}, {steps} steps", teacher, (*words, "--max_steps", str(steps)))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's correlation of two equally long lists; equal values share their mean rank."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def ranks(values: Sequence[float]) -> np.ndarray:
    """Return the rank of each value, from 0. Equal values have the mean of their ranks."""
    numbers = np.asarray(values)
    below, equal = (numbers[:, None] > numbers).sum(1), (numbers[:, None] == numbers).sum(1)
    return below + (equal - 1) / 2
