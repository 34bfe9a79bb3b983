"""Render sounds, distil, probe and print one table of scores: the main task from end to end, without a download."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from demo_sounds import render
from torch import Tensor

import distill
from distill.commands.probe import labelled_manifest
from distill.data.audio.mel import LogMel
from distill.data.clips.dataset import Crop
from distill.data.files import lock, write_text
from distill.evaluation.scoring import score_store
from distill.run.embeddings import fill_store
from distill.run.memory import keep_freed_memory
from distill.run.pictures import draw_scores
from distill.students.student import Student
from distill.teachers.teacher import Teacher


class MelStatistics(Teacher):
    """Mean and standard deviation of 64 log-mel bands over time: the baseline."""

    sample_rate = 16_000

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(self.sample_rate, window=400, hop=160, bands=64, low=50.0, high=8_000.0, offset=1e-6)

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        mel = self.mel(batch.waveform)
        return distill.Embeddings.of_clip(torch.cat([mel.mean(2), mel.std(2)], dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the sounds, the runs and the picture")
    parser.add_argument("--clips", type=int, default=90, help="number of clips of each of the 12 classes")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=float, default=0.3, help="width of the student, mobilenet_v3")
    options = parser.parse_args()

    begin = time.perf_counter()
    keep_freed_memory()
    table = render(options.out / "sounds", options.clips)
    manifest = labelled_manifest(str(table), "auto")

    def score(name: str, encoder: Teacher | Student) -> float:
        folder = options.out / "embeddings" / name
        with lock(folder, "demo"):
            store = fill_store(encoder, manifest, folder, Crop(), 64, "float32")
            return score_store(store, manifest).result.score

    teacher = distill.create_teacher("spectral")
    untrained, distilled = [], []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        untrained.append(score(f"untrained_{seed}", distill.create_student("mobilenet_v3", width=options.width).eval()))
        student = distill.fit(
            teacher="spectral",
            student={"class_path": "mobilenet_v3", "init_args": {"width": options.width}},
            data=str(table.with_name("train.csv")),
            out=str(options.out / f"run_{seed}"),
            store=str(options.out / "teacher"),
            optimizer=distill.Optimizer(learning_rate=3e-3),
            epochs=options.epochs,
            batch_size=16,
            seed=seed,
            overwrite=True,
        )
        assert student is not None
        distilled.append(score(f"distilled_{seed}", student))
    scores = {
        "mel statistics": [score("mel", MelStatistics())],
        "student, untrained": untrained,
        "student, distilled": distilled,
        "teacher (spectral)": [score("spectral", teacher)],
    }
    costs = {
        "mel statistics": cost(MelStatistics()),
        "student, untrained": cost(student),
        "student, distilled": cost(student),
        "teacher (spectral)": cost(teacher),
    }
    classes = len(manifest.classes)
    tests = sum(row.split == "test" for row in manifest.rows)
    text = as_table(scores, costs)
    text += f"\nLinear probe on {tests} test clips of {classes} classes (chance {1 / classes:.3f}); one second each,\n"
    text += f"rendered with numpy. The student used no labels. {options.seeds} seeds; +- is their standard deviation.\n"
    text += f"Speed: batches of 16 on this machine's CPU, median of 5. Total: {time.perf_counter() - begin:.0f} s.\n"
    print("\n" + text)
    write_text(options.out / "table.txt", text)
    draw_scores(scores, "Linear-probe scores", "accuracy on test clips", options.out / "scores.png")
    print(f"picture: {options.out / 'scores.png'}")


def cost(encoder: Teacher | Student) -> tuple[int, float]:
    """Return the number of parameters, and clips of one second per second."""
    waveform = torch.randn(16, 16_000) * 0.1

    def run() -> Tensor:
        return encoder.embed(waveform, 16_000).clip

    run()
    return encoder.parameter_count(), 16 / float(np.median([seconds(run) for _ in range(5)]))


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def as_table(scores: dict[str, list[float]], costs: dict[str, tuple[int, float]]) -> str:
    lines = [f"{'encoder':20} {'parameters':>11} {'clips/s':>8} {'accuracy':>9}"]
    for name, values in scores.items():
        parameters, rate = costs[name]
        spread = f" +- {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        lines.append(f"{name:20} {parameters:>11,} {rate:>8.0f} {np.mean(values):>9.3f}{spread}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
