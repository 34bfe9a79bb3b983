"""Distil a trained teacher into a small student on real sounds, probe it, and print one table: no download."""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import distill
from distill.commands.probe import labelled_manifest
from distill.data.clips.dataset import Crop
from distill.data.files import lock, write_text
from distill.evaluation.bootstrap import difference_of, interval_of
from distill.evaluation.pictures import scores_figure
from distill.evaluation.results import Entry
from distill.evaluation.scoring import Scored, score_store
from distill.run.embeddings import fill_store
from distill.run.pictures import save_figure
from distill.students.student import Student
from distill.teachers.teacher import Teacher

SOUNDS = Path(__file__).with_name("demo_sounds")
MEL, UNTRAINED, DISTILLED, TEACHER = "mel statistics", "student, untrained", "student, distilled", "teacher (musicnn)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the sounds, the runs and the picture")
    parser.add_argument("--clips", type=int, default=0, help="number of clips of each table; 0 means all")
    parser.add_argument("--steps", type=int, default=400, help="steps of training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=float, default=0.6, help="width of the student, cnn")
    options = parser.parse_args()
    begin = time.perf_counter()
    scores, student = scored(options)
    text = as_text(scores, student, options.seeds) + f"Total: {time.perf_counter() - begin:.0f} s, "
    text += f"of which this process computed {os.times().user + os.times().system:.0f} s.\n"
    print("\n" + text)
    write_text(options.out / "table.txt", text)
    entries = sorted((entry_of(name, several) for name, several in scores.items()), key=lambda entry: -entry.score)
    title = "families of new instruments: accuracy of a linear probe, 95 % intervals"
    save_figure(scores_figure({title: entries}), options.out / "scores.png")
    print(f"picture: {options.out / 'scores.png'}")


def scored(options: argparse.Namespace) -> tuple[dict[str, list[Scored]], Student]:
    """Return the scores of each encoder, one for each seed, and a distilled student."""
    copy_sounds(options.out / "sounds", options.clips)
    notes, pool = (options.out / "sounds" / name for name in ("notes.csv", "pool.csv"))
    manifest = labelled_manifest(str(notes), "auto")

    def score(name: str, encoder: Teacher | Student) -> Scored:
        folder = options.out / "embeddings" / name
        with lock(folder, "demo"):
            return score_store(fill_store(encoder, manifest, folder, Crop(), 64, "float32"), manifest)

    untrained, distilled = [], []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        untrained.append(score(f"untrained_{seed}", distill.create_student("cnn", width=options.width).eval()))
        student = distill.fit(
            student={"class_path": "cnn", "init_args": {"width": options.width}},
            data=str(pool),
            out=str(options.out / f"run_{seed}"),
            store=str(options.out / "embeddings" / "musicnn_pool"),
            max_steps=options.steps,
            seed=seed,
            overwrite=True,
        )
        assert student is not None
        distilled.append(score(f"distilled_{seed}", student))
    mel, teacher = (score(name, distill.create_teacher(name)) for name in ("mel", "musicnn"))
    return {MEL: [mel], UNTRAINED: untrained, DISTILLED: distilled, TEACHER: [teacher]}, student


def copy_sounds(folder: Path, clips: int) -> None:
    """Copy the sounds and the first rows of their tables, since a run must not write beside the sources.

    Args:
        folder: Folder of the copy.
        clips: Rows of each table, evenly spread. 0 means all.
    """
    shutil.copytree(SOUNDS / "audio", folder / "audio", dirs_exist_ok=True)
    for name in ("notes.csv", "pool.csv"):
        with open(SOUNDS / name, newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
        chosen = np.linspace(0, len(rows) - 1, clips).round().astype(int) if clips else range(len(rows))
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *(rows[index] for index in chosen)])


def mean_of(several: Sequence[Scored]) -> tuple[float, np.ndarray]:
    """Return the mean score over seeds, and its values in the resamples of the test clips."""
    return float(np.mean([one.result.score for one in several])), np.mean([one.samples for one in several], axis=0)


def entry_of(name: str, several: Sequence[Scored]) -> Entry:
    score, samples = mean_of(several)
    return Entry(name, score, 0.0, interval_of(samples), "", {}, None, is_baseline=name != DISTILLED)


def as_text(scores: dict[str, list[Scored]], student: Student, seeds: int) -> str:
    """Return the table of scores, and the differences that they permit."""
    first = scores[MEL][0].result
    lines = [f"{'encoder':20} {'parameters':>11} {'accuracy':>9}  95 % interval"]
    parameters = {MEL: 0, TEACHER: distill.create_teacher("musicnn").parameter_count()}
    for name, several in scores.items():
        value, samples = mean_of(several)
        low, high = interval_of(samples)
        count = parameters.get(name, student.parameter_count())
        lines.append(f"{name:20} {count:>11,} {value:>9.3f}  {low:.3f} to {high:.3f}")
    value, samples = mean_of(scores[DISTILLED])
    for name in (MEL, UNTRAINED):
        other, others = mean_of(scores[name])
        lead = difference_of(value, other, samples, others)
        lines.append(f"{DISTILLED}, minus {name}: {lead.value:+.3f}, 95 % interval {lead.low:+.3f} to {lead.high:+.3f}")
    lines.append(
        f"Linear probe of {first.classes} families on {first.test_clips} notes of instruments that neither the student "
        f"nor the probe was trained on.\nThe student used no labels. {seeds} seeds."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
