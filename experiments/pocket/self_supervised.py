"""Measure what EAT, CAT and MATPAC learn: tiny widths on the pocket sounds, three seeds, probes during training.

    python -m experiments.pocket.self_supervised --sounds FOLDER --teacher RUNS [--out FOLDER]

RUNS is the folder of `experiments.pocket.benchmark`, whose teacher and stores are used. Rows: the encoder untrained;
EAT; CAT, which is EAT beside that teacher; EAT beside a teacher with the embeddings of other clips; patches of three
sizes, as in CAT; MATPAC.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

import distill
from distill.data.audio.frames import masked_mean
from distill.data.encoders.encoder import Encoder
from distill.data.files import write_json
from distill.evaluation.scoring import labels_of, score_embeddings
from distill.run.pictures import save_figure
from distill.students.patch_transformer.student import PatchTransformer
from experiments.benchmarks.measure import write_section
from experiments.pocket import benchmark
from experiments.pocket.benchmark import SEEDS, TASKS, spread

STEPS = (120, 240, 480, 720)
EPOCH = 60  # steps
BATCH = 32
TINY: dict[str, Any] = {"hidden": 96, "layers": 4, "heads": 4}
# The slow copy keeps the decay of the published recipe. With a decay of 0.99, which follows within these few steps, the
# scores fell below those of the untrained student.
EAT = {"clones": 4, "mask": {"share": 0.7, "block": 3}, "decoder_layers": 3}
BESIDE = {**EAT, "targets": "standardised"}
HEADS = {"classes": 128, "head_hidden": 128, "predictor_layers": 2, "predictor_heads": 4}


def utterance_frame(options: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": "utterance_frame", "init_args": options}


ROWS: dict[str, dict[str, Any]] = {
    "EAT": {"objective": utterance_frame(EAT)},
    "CAT: EAT beside the teacher": {"teacher": "teacher", "objective": utterance_frame(BESIDE)},
    "EAT beside a mismatched teacher": {"teacher": "shuffled", "objective": utterance_frame(BESIDE)},
    "EAT, patches of 4, 8 and 16": {
        "sizes": {"resolutions": [4, 8, 16], "channels": [16, 32]},
        "objective": utterance_frame(EAT),
    },
    "MATPAC": {
        "sizes": {"norm": "pre", "bands": 80},
        "objective": {
            "class_path": "latent_prediction",
            "init_args": {"mask": {"share": 0.6, "kind": "random"}, **HEADS},
        },
    },
}


def probe(encoder: Encoder) -> dict[str, float]:
    """Score linear probes of the first token, concatenated with the mean of the frames."""
    scores, known = {}, {}
    with torch.inference_mode():
        for task, (manifest, batches) in benchmark._tasks.items():
            if id(batches) not in known:
                parts = []
                for batch in batches:
                    made = encoder(batch)
                    parts.append(torch.cat([made.clip, masked_mean(made.frames, made.frame_mask)], 1))
                known[id(batches)] = torch.cat(parts).numpy()
            labels = labels_of(manifest.rows, manifest.classes)
            scores[task] = score_embeddings(known[id(batches)], labels).result.score
    return scores


def measure(job: tuple[str, int, Path, Path]) -> tuple[str, int, dict[int, dict[str, float]], float]:
    """Train a row with a seed and probe it during training. Return name, seed, scores by step, CPU seconds."""
    name, seed, out, stores = job
    folder = out / f"{name}_{seed}".replace(" ", "_").replace(",", "").replace(":", "")
    done, origin = folder / "curve.json", json.loads(json.dumps({**ROWS[name], "steps": STEPS}))
    if done.exists() and (known := json.loads(done.read_text()))["origin"] == origin:
        return name, seed, {int(step): scores for step, scores in known["curve"].items()}, known["seconds"]
    settings = dict(ROWS[name])
    sizes = {**TINY, **settings.pop("sizes", {})}
    torch.manual_seed(seed)
    curve, seconds = {0: probe(PatchTransformer(**sizes).eval())}, 0.0
    if teacher := settings.pop("teacher", None):
        store = {"class_path": "precomputed", "init_args": {"store": str(stores / teacher / "balanced")}}
        settings["teacher"] = store
    table = benchmark._sounds.tables["balanced"]
    for number, steps in enumerate(STEPS):
        begin = time.process_time()
        student = distill.fit(
            student={"class_path": "patch_transformer", "init_args": sizes}, data=str(table), out=str(folder),
            seed=seed, batch_size=BATCH, epochs=steps // EPOCH, validation=0.0, resume=number > 0, overwrite=True,
            sampling={"draws": EPOCH * BATCH},
            optimizer={"learning_rate": 1e-3, "weight_decay": 0.05, "schedule": "constant", "warmup": 0.0},
            engine={"workers": 0, "accelerator": "cpu"}, **settings,
        )  # fmt: skip
        seconds += time.process_time() - begin
        assert student is not None
        curve[steps] = probe(student)
    write_json(done, {"origin": origin, "curve": curve, "seconds": seconds})
    print(name, seed, {step: round(statistics.mean(scores.values()), 3) for step, scores in curve.items()}, flush=True)
    return name, seed, curve, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=Path, default=Path("pocket_sounds"))
    parser.add_argument("--teacher", type=Path, default=Path("pocket_runs"))
    parser.add_argument("--out", type=Path, default=Path("pocket_self_supervised"))
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=ROWS)
    options = parser.parse_args()
    begin, sounds = time.perf_counter(), options.sounds.resolve()
    jobs = [(name, seed, options.out.resolve(), options.teacher.resolve()) for name in options.rows for seed in SEEDS]
    with ProcessPoolExecutor(2, initializer=benchmark._begin, initargs=(sounds, options.teacher.resolve())) as pool:
        results = list(pool.map(measure, jobs))
    report(results, options.out, time.perf_counter() - begin)


Results = list[tuple[str, int, dict[int, dict[str, float]], float]]


def report(results: Results, out: Path, seconds: float) -> None:
    """Write the table into BENCHMARKS.md and draw the curves."""
    lines = [
        f"`python -m experiments.pocket.self_supervised`: width 96, 4 blocks, {STEPS[-1]} steps of {BATCH} clips,",
        f"constant rate; mean of five linear probes (first token and mean frame), 3 seeds; {seconds / 60:.0f} min.",
        "",
        f"| encoder | {' | '.join(f'step {step}' for step in (0, *STEPS))} | {' | '.join(TASKS)} | cpu s |",
        "|" + "---|" * (len(STEPS) + len(TASKS) + 3),
    ]
    curves: dict[str, list[list[float]]] = {}
    for name in dict.fromkeys(result[0] for result in results):
        runs = [result for result in results if result[0] == name]
        means = [[statistics.mean(curve[step].values()) for _, _, curve, _ in runs] for step in (0, *STEPS)]
        curves[name] = means
        last = [spread([curve[STEPS[-1]][task] for _, _, curve, _ in runs]) for task in TASKS]
        taken = statistics.mean(result[3] for result in runs)
        lines.append(f"| {name} | {' | '.join(map(spread, means))} | {' | '.join(last)} | {taken:.0f} |")
    write_section("Self-supervised objectives learn", lines)
    draw(curves, out / "curves.png")


def draw(curves: dict[str, list[list[float]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4))
    axes = figure.subplots()
    for name, means in curves.items():
        centre, width = [statistics.mean(v) for v in means], [statistics.stdev(v) for v in means]
        axes.errorbar((0, *STEPS), centre, yerr=width, label=name, capsize=3, marker="o", markersize=3, linewidth=1.2)
    axes.set(xlabel="steps", ylabel="mean accuracy of five probes", title="Self-supervised, with and without a teacher")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
