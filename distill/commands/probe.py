"""`distill probe`: how much can be read from an encoder's embeddings, by a protocol that has a name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.layouts import LAYOUTS, find_layout
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError
from distill.data.files import lock, write_json, write_text
from distill.evaluation.cost import cost_of, memory_of
from distill.evaluation.protocols import PROTOCOLS
from distill.evaluation.scoring import Named, ProbeResult, Scored, choose_metric, labels_of, score_store
from distill.evaluation.settings import FineTuning
from distill.evaluation.splits import splits_of
from distill.run.embeddings import choose_device, encoder_of, fill_store, identity, introduction, report_set_aside
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine

TASKS = ("auto", *LAYOUTS)
_COSTED = 10.0  # seconds of the clip whose cost stands beside a score


def probe(
    data: str,
    model: str | None = None,
    teacher: Written | Teacher | None = None,
    protocol: str = "linear",
    task: str = "auto",
    metric: str = "auto",
    seeds: int = 1,
    support: Sequence[float] = (),
    out: str = "",
    crop: Crop | None = None,
    finetuning: FineTuning = FineTuning(),
    batch_size: int = 16,
    workers: int = -1,
    device: str = "auto",
    allow_import: str | None = None,
) -> ProbeResult:
    """Score an encoder on labelled clips it has not seen.

    Folds or splits are the data's own (a column `fold` or `split`, or the layout of a known data set); where there are
    none, five folds are made. Hyper-parameters are chosen on the validation part, or by folds inside the training
    clips, and never on what is scored. Beside the score stands what the encoder costs.

    Args:
        data: Labelled clips: a table, a real data set's folder, or a folder with one sub-folder a class.
        model: Trained student: a run folder, a student folder or a hub id.
        teacher: Encoder, where it is a teacher.
        protocol: "linear" (logistic regression), "mlp" (one hidden layer), "knn", or "finetune" (all weights learn);
            "linear_best_test_epoch" is S-SONDO's habit for ESC-50, which flatters.
        task: Data set that the folder must be, such as "esc50" or "nsynth_pitch"; "auto" finds out.
        metric: "accuracy", "mAP", "AUC", "d_prime", "F1", or "auto": that of the data set, else what its labels allow.
        seeds: How many times; the spread over seeds stands beside the mean.
        support: Temporal supports in seconds, such as 0.5,1,2,5,10: long clips are embedded in windows of each length,
            and scores and costs compared (the question of arXiv 2312.14005).
        out: Folder of the embeddings and the result; by default `probe/NAME-OF-DATA` in the run.
        crop: Part of each clip that is embedded.
        finetuning: Settings of the protocol "finetune".
        batch_size: Clips that are embedded at a time; `finetuning` has its own.
        workers: Processes that decode audio; -1 chooses as `distill embed` does.
        device: "cpu", "cuda" or "auto".
        allow_import: Package of a model's own class that may be imported.

    Returns:
        The result; with `support` that of the longest, since choosing the best one would be choosing on the test.

    Raises:
        UserError: no labels, no such task, protocol or metric, or the folder is not the task's.
    """
    if protocol not in (*PROTOCOLS, "finetune"):
        raise UserError(f"--protocol {protocol}: one of {', '.join((*PROTOCOLS, 'finetune'))} is wanted")
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: at least 1 is wanted")
    if any(not 0.01 <= seconds < math.inf for seconds in support):
        raise UserError(f"--support {list(support)}: seconds are wanted, 0.01 or more")
    manifest, asked = labelled_manifest(data, task), task
    if task == "auto" and Path(data).is_dir():
        task = find_layout(Path(data)) or task
    # A mistake shows now, and not after the embedding.
    labels = labels_of(manifest.rows, manifest.classes)
    choose_metric(metric, task, labels)
    splits_of(labels.parts, labels.main)
    encoder = encoder_of(teacher, model, allow_import)
    print(introduction(encoder))
    name = Path(data).resolve().name
    folder = Path(out) if out else Path(model or "probe") / "probe" / (name if asked == "auto" else f"{name}_{asked}")
    taught_by = dict(encoder.teachers) if isinstance(encoder, Student) else {}
    named = Named(name, model or TEACHERS.name_of(type(encoder)), identity(encoder), taught_by)
    options: dict[str, Any] = {"seeds": seeds, "task": task, "metric": metric}
    embedding: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "device": device}
    with lock(folder, "distill probe"):
        if protocol == "finetune":
            from distill.evaluation.finetune import readable, score_finetuned  # lightning is slow to import

            if not isinstance(encoder, Student) or support:
                raise UserError("--protocol finetune trains students (--model), each in its own windows")
            crop = crop or Crop()
            where = "cpu" if choose_device(device).type == "cpu" else "gpu"
            engine = Engine(accelerator=where, workers=max(0, workers))
            clips = ClipDataset(manifest, encoder.sample_rate, crop)
            usable, aside = readable(clips, finetuning.batch_size, engine.workers)
            report_set_aside(aside, manifest, folder / "set_aside.csv")
            scored = score_finetuned(encoder, usable, crop, finetuning, folder, engine=engine, **options)
        elif support:
            options["protocol"] = protocol
            return _study(encoder, manifest, folder, crop or Crop(), support, embedding, options, named)
        else:
            store = fill_store(encoder, manifest, folder / "embeddings", crop or Crop(), dtype="float32", **embedding)
            report_set_aside(store.set_aside, manifest, folder / "set_aside.csv")
            scored = score_store(store, manifest, protocol, **options)
        result = scored.result.of(named, cost_of(encoder, _COSTED))
        _write(replace(scored, result=result), folder / protocol)
    _print(result, data, folder / protocol)
    return result


def labelled_manifest(data: str, task: str) -> Manifest:
    """Labelled clips; without any labels, the name of a clip's folder is its label. Raises UserError."""
    if task not in TASKS:
        raise UserError(f"--task {task}: one of {', '.join(TASKS)} is wanted")
    manifest = read_manifest(data, task).labelled()
    if len(manifest.classes) < 2:
        raise UserError(f"--data {data}: no labels to probe (a column `label`, or a sub-folder for each class)")
    return manifest


def _write(scored: Scored, folder: Path) -> None:
    """result.json, by_class.csv and, where each clip has one label, confusion.png."""
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["class", "clips", "recall", "average_precision", "auc"])
    by_class, names = scored.by_class, scored.labels.names
    for row in zip(names, by_class.clips, by_class.recall, by_class.average_precision, by_class.auc, strict=True):
        rows.writerow([row[0], row[1], *(f"{value:.4f}" if np.isfinite(value) else "" for value in row[2:])])
    write_text(folder / "by_class.csv", text.getvalue())
    if scored.confusion is not None:
        from distill.evaluation.pictures import confusion_figure
        from distill.run.pictures import save_figure

        title = f"{scored.result.model}, {scored.result.protocol}: {scored.result.metric} {scored.result.score:.3f}"
        save_figure(confusion_figure(scored.confusion, names, title), folder / "confusion.png")
    write_json(folder / "result.json", asdict(scored.result))


def _print(result: ProbeResult, data: str, folder: Path) -> None:
    folds = ", ".join(f"{name}: {score:.4f}" for name, score in result.folds.items())
    others = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if name != result.metric)
    over = f"{len(result.folds)} folds" + (f" and {len(result.seeds)} seeds" if len(result.seeds) > 1 else "")
    cost = result.cost
    print(
        f"{result.protocol} probe of {result.model} on {data}: {result.metric} {result.score:.4f} "
        f"+- {result.spread:.4f} over {over}; {others}"
    )
    print(f"  parts {folds} ({result.clips} clips, {result.classes} classes)")
    print(
        f"  {cost['parameters']:,} parameters, {cost['flops'] / 1e9:.3g} GFLOP and {cost['latency'] * 1000:.3g} ms for "
        f"{cost['seconds']:g} s of sound on {cost['device']}; written to {folder}"
    )


def _study(
    encoder: Encoder,
    manifest: Manifest,
    folder: Path,
    crop: Crop,
    support: Sequence[float],
    embedding: dict[str, Any],
    options: dict[str, Any],
    named: Named,
) -> ProbeResult:
    """Score and cost of every temporal support; a table and a picture; the result of the longest."""
    results: dict[float, ProbeResult] = {}
    if max(support) > encoder.longest_window:
        raise UserError(f"--support {max(support):g}: the network sees {encoder.longest_window:g} s at once")
    for seconds in sorted(set(support)):
        encoder.cut_in(Windows(seconds=seconds))
        store = fill_store(encoder, manifest, folder / f"embeddings_{seconds:g}s", crop, dtype="float32", **embedding)
        report_set_aside(store.set_aside, manifest, folder / "set_aside.csv")
        clip = crop.seconds or _COSTED
        # Windows may be embedded one after another, so that no more than one need be held.
        cost = replace(cost_of(encoder, clip), memory=memory_of(encoder, min(seconds, clip)))
        results[seconds] = score_store(store, manifest, **options).result.of(named, cost)
    longest = results[max(results)]
    print(f"{'support':>8} {longest.metric:>10} {'+-':>7} {'GFLOP':>8} {'ms':>8} {'MiB':>8}  a clip; MiB: a window")
    for seconds, result in results.items():
        measured = result.cost
        print(
            f"{seconds:7g}s {result.score:10.4f} {result.spread:7.4f} {measured['flops'] / 1e9:8.3g} "
            f"{measured['latency'] * 1000:8.3g} {measured['memory'] / 2**20:8.1f}"
        )
    write_json(folder / "support.json", {f"{seconds:g}": asdict(result) for seconds, result in results.items()})
    from distill.evaluation.pictures import support_figure
    from distill.run.pictures import save_figure

    title = f"{named.model}, {options['protocol']} probe"
    save_figure(support_figure(results, title), folder / "support.png")
    print(f"written to {folder}")
    return longest
