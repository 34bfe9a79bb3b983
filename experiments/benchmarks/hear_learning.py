"""Measure what each stage of HEAR learns: reduced sizes on rendered sound, linear probes, three seeds.

    python experiments/benchmarks/hear_learning.py SOUNDS [--out FOLDER]

SOUNDS holds `audioset` (the pool; students do not use its labels), `speech_commands_v0.02`, `nsynth-train`,
`nsynth-test` and `ESC-50` in their published layouts. All sound is synthetic: the scores are not comparable with those
of the real sets.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from measure import write_section

import distill
from distill.commands.probe import labelled_manifest
from distill.data.clips.dataset import Crop
from distill.data.encoders.encoder import Encoder
from distill.data.files import lock, write_text
from distill.evaluation.scoring import score_store
from distill.run.embeddings import fill_store

TEACHER = {"hidden": 96, "intermediate": 384, "heads": 4, "layers": 3, "task_hidden": 96, "task_intermediate": 384}
TOKENIZER = {"hidden": 64, "intermediate": 256, "heads": 4, "layers": 3, "codes": 256}
ACOUSTIC = {"hidden": 128, "intermediate": 512, "heads": 4, "layers": 4}
DECODER = {"hidden": 64, "intermediate": 256, "heads": 4, "layers": 1}
ENGINE = {"workers": 0, "accelerator": "cpu"}
SEEDS = (0, 1, 2)


def write_table(path: Path, rows: list[tuple[Path, str, str]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["path", "label", "split"])
    for file, label, split in rows:
        writer.writerow([file.relative_to(path.parent).as_posix(), label, split])
    write_text(path, text.getvalue())
    return path


def tables(sounds: Path) -> dict[str, Path]:
    """Return a table of the pool with its finest labels, and one of each task."""
    with open(sounds / "audioset" / "class_labels_indices.csv", newline="") as file:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    pool = []
    with open(sounds / "audioset" / "balanced_train_segments.csv", newline="") as file:
        for row in csv.reader((line for line in file if not line.startswith("#")), skipinitialspace=True):
            pool.append((sounds / "audioset" / "audio" / f"{row[0]}.wav", names[row[3].split(",")[-1]], "training"))
    commands = sounds / "speech_commands_v0.02"
    testing = set((commands / "testing_list.txt").read_text().split())
    keywords = [
        (path, path.parent.name, "test" if path.relative_to(commands).as_posix() in testing else "training")
        for path in sorted(commands.glob("[a-z]*/*.wav"))
    ]
    families = []
    for part, split in (("train", "training"), ("test", "test")):
        notes = json.loads((sounds / f"nsynth-{part}" / "examples.json").read_text())
        folder = sounds / f"nsynth-{part}" / "audio"
        families += [(folder / f"{name}.wav", note["instrument_family_str"], split) for name, note in notes.items()]
    return {
        "pool": write_table(sounds / "pool.csv", pool),
        "keywords": write_table(sounds / "keywords.csv", keywords),
        "families": write_table(sounds / "families.csv", families),
        "esc": sounds / "ESC-50",
    }


class Benchmark:
    def __init__(self, sounds: Path, out: Path) -> None:
        self.tables, self.out = tables(sounds), out
        self.scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def probe(self, name: str, encoder: Encoder, seed: int) -> None:
        for task in ("keywords", "families", "esc"):
            manifest = labelled_manifest(str(self.tables[task]), "auto")
            folder = self.out / "embeddings" / f"{name}_{seed}_{task}".replace(" ", "_")
            with lock(folder, "benchmark"):
                store = fill_store(encoder.eval(), manifest, folder, Crop(), 32, "float32")
            self.scores[name][task].append(score_store(store, manifest).result.score)
        print(name, seed, {task: f"{values[-1]:.3f}" for task, values in self.scores[name].items()}, flush=True)

    def fit(self, name: str, seed: int, epochs: int, **settings: Any) -> Path:
        out = self.out / f"{name}_{seed}".replace(" ", "_")
        if not (out / "student" / "config.json").exists():
            distill.fit(
                data=str(self.tables["pool"]), out=str(out), seed=seed, epochs=epochs, batch_size=32, engine=ENGINE,
                validation=0.0, optimizer={"learning_rate": 1e-3, "weight_decay": 0.01}, overwrite=True, **settings,
            )  # fmt: skip
        return out

    def last(self, run: Path, column: str) -> float:
        with open(run / "metrics.csv", newline="") as file:
            return float([row[column] for row in csv.DictReader(file) if row.get(column)][-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path)
    parser.add_argument("--out", type=Path, default=Path("hear_learning"))
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    begin = time.perf_counter()
    bench = Benchmark(options.sounds.resolve(), options.out)
    teacher_run = bench.fit(
        "teacher", 0, options.epochs, student={"class_path": "hear_classifier", "init_args": TEACHER},
        objective="classification",
    )  # fmt: skip
    bench.probe("teacher, trained on the pool's labels", distill.load(str(teacher_run)), 0)
    teacher = {"class_path": "frozen", "init_args": {"student": str(teacher_run)}}
    tokenizer = {"class_path": "hear_tokenizer", "init_args": TOKENIZER}
    stage1 = {"class_path": "tokenizer", "init_args": {**DECODER, "code_dim": 16}}
    health: dict[str, list[float]] = defaultdict(list)
    for seed in SEEDS:
        torch.manual_seed(seed)
        bench.probe("tokenizer, random", distill.create_student("hear_tokenizer", **TOKENIZER), seed)
        alone = bench.fit("reconstruction", seed, options.epochs, student=tokenizer, objective=stage1)
        bench.probe("stage 1 without a teacher", distill.load(str(alone)), seed)
        run = bench.fit(
            "distilled", seed, options.epochs, student=tokenizer, objective=stage1, teacher=teacher, live=True
        )
        bench.probe("stage 1 with the teacher", distill.load(str(run)), seed)
        torch.manual_seed(seed)
        bench.probe("acoustic model, random", distill.create_student("hear", **ACOUSTIC), seed)
        masked = bench.fit(
            "masked", seed, options.epochs, student={"class_path": "hear", "init_args": ACOUSTIC},
            objective={"class_path": "masked_prediction", "init_args": {"tokenizer": str(run)}},
        )  # fmt: skip
        bench.probe("stage 2, tokens of the distilled tokenizer", distill.load(str(masked)), seed)
        for name, path, column in (
            ("codes in use, without a teacher", alone, "used_codes"), ("codes in use", run, "used_codes"),
            ("perplexity", run, "perplexity"), ("accuracy on masked tokens", masked, "masked_token_accuracy"),
        ):  # fmt: skip
            health[name].append(bench.last(path, column))
    report(bench, health, options.epochs, time.perf_counter() - begin)


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.3f}" + (f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else "")


def report(bench: Benchmark, health: dict[str, list[float]], epochs: int, seconds: float) -> None:
    lines = [
        "Linear probes on rendered sound (20 keywords by unseen speakers, 11 instrument families by unseen",
        "instruments, 20 environment classes in 5 folds). Mean and standard deviation over 3 seeds; the teacher has",
        "one seed.",
        f"`experiments/benchmarks/hear_learning.py SOUNDS --epochs {epochs}`: 3,850 clips, {seconds / 60:.0f} min",
        "",
        "| encoder | keywords | families | esc | mean |",
        "|---|---|---|---|---|",
    ]
    for name, tasks in bench.scores.items():
        means = [statistics.mean(values) for values in zip(*tasks.values(), strict=True)]
        lines.append(f"| {name} | {' | '.join(spread(values) for values in tasks.values())} | {spread(means)} |")
    lines += ["", *(f"- {name}: {spread(values)}" for name, values in health.items())]
    write_section("HEAR learns", lines)


if __name__ == "__main__":
    main()
