"""`distill probe`: how much can be read from an encoder's embeddings, by a protocol that has a name."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from distill.commands.arguments import called_with
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.layouts import LAYOUTS, find_layout
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError, require_one_of
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


@dataclass(frozen=True)
class ProbeArguments:
    """What is scored, on what, and how.

    Args:
        data: Labelled clips: a table, a published data set's folder, or a folder with one sub-folder for each class.
        model: Trained student: a run folder, a student folder or a hub id.
        teacher: Encoder, if it is a teacher.
        protocol: "linear" (logistic regression), "mlp" (one hidden layer), "knn", or "finetune" (all weights learn);
            "linear_best_test_epoch" is S-SONDO's habit for ESC-50, which flatters.
        task: Data set that the folder must be, such as "esc50" or "nsynth_pitch". "auto": found by its files.
        metric: "accuracy", "mAP", "AUC", "d_prime" or "F1". "auto": that of the data set, or one that fits the labels.
        seeds: Number of seeds. The spread over them stands beside the mean.
        support: Temporal supports in seconds, such as 0.5,1,2,5,10: long clips are embedded in windows of each length,
            and scores and costs compared (the question of arXiv 2312.14005).
        out: Folder of the embeddings and the result. Empty: `probe/NAME-OF-DATA` in the run.
        crop: Part of each clip that is embedded. None: at most 10 s, centred.
        finetuning: Settings of the protocol "finetune".
        batch_size: Clips that are embedded at a time; `finetuning` has its own.
        workers: Processes that decode audio. -1: chosen as `distill embed` does.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package of a model's own class that may be imported.
    """

    data: str
    model: str | None = None
    teacher: Written | Teacher | None = None
    protocol: str = "linear"
    task: str = "auto"
    metric: str = "auto"
    seeds: int = 1
    support: Sequence[float] = ()
    out: str = ""
    crop: Crop | None = None
    finetuning: FineTuning = FineTuning()
    batch_size: int = 16
    workers: int = -1
    device: str = "auto"
    allow_import: str | None = None

    def check(self) -> None:
        """Raise UserError for a value that is not valid, before anything is loaded."""
        require_one_of("--protocol", self.protocol, (*PROTOCOLS, "finetune"))
        require_one_of("--task", self.task, TASKS)
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds}: must be at least 1")
        if any(not 0.01 <= seconds < math.inf for seconds in self.support):
            raise UserError(f"--support {list(self.support)}: must be seconds, 0.01 or more")

    @property
    def folder(self) -> Path:
        """Folder of the embeddings and the result."""
        name = Path(self.data).resolve().name
        name = name if self.task == "auto" else f"{name}_{self.task}"
        return Path(self.out) if self.out else Path(self.model or "probe") / "probe" / name


@called_with(ProbeArguments)
def probe(arguments: ProbeArguments, given: frozenset[str]) -> ProbeResult:
    """Score an encoder on labelled clips it has not seen.

    Folds or splits are the data's own (a column `fold` or `split`, or the layout of a known data set); otherwise five
    folds are made. Hyper-parameters are chosen on the validation part, or by folds inside the training clips, and never
    on what is scored. The cost of the encoder stands beside the score.

    Returns:
        The result; with `support` that of the longest, since choosing the best one would be choosing on the test.

    Raises:
        UserError: no labels, no such task, protocol or metric, or the folder is not the task's.
    """
    arguments.check()
    manifest, task = labelled_manifest(arguments.data, arguments.task), arguments.task
    if task == "auto" and Path(arguments.data).is_dir():
        task = find_layout(Path(arguments.data)) or task
    # A mistake shows now, and not after the embedding.
    labels = labels_of(manifest.rows, manifest.classes)
    choose_metric(arguments.metric, task, labels)
    splits_of(labels.parts, labels.main)
    encoder = encoder_of(arguments.teacher, arguments.model, arguments.allow_import)
    print(introduction(encoder))
    measurement = Measurement(arguments, manifest, task, encoder)
    with lock(arguments.folder, "distill probe"):
        return measurement.study() if arguments.support else measurement.score()


@dataclass(frozen=True)
class Measurement:
    """One encoder on one data set.

    Args:
        arguments: Those of `probe`.
        manifest: The labelled clips.
        task: Name of the data set, or "auto".
        encoder: What is scored.
    """

    arguments: ProbeArguments
    manifest: Manifest
    task: str
    encoder: Encoder

    @property
    def named(self) -> Named:
        """Names of the data, of the encoder and of its teachers, for the result."""
        name, encoder = Path(self.arguments.data).resolve().name, self.encoder
        teachers = dict(encoder.teachers) if isinstance(encoder, Student) else {}
        return Named(name, self.arguments.model or TEACHERS.name_of(type(encoder)), identity(encoder), teachers)

    @property
    def crop(self) -> Crop:
        """Part of each clip that is embedded."""
        return self.arguments.crop or Crop()

    def score(self) -> ProbeResult:
        """Score the encoder by one protocol, and write the result."""
        arguments, folder = self.arguments, self.arguments.folder / self.arguments.protocol
        scored = self._finetuned() if arguments.protocol == "finetune" else self._scored("embeddings")
        result = scored.result.of(self.named, cost_of(self.encoder, _COSTED))
        _write(replace(scored, result=result), folder)
        _print(result, arguments.data, folder)
        return result

    def study(self) -> ProbeResult:
        """Score every temporal support; write a table and a picture; return the result of the longest."""
        arguments, folder = self.arguments, self.arguments.folder
        if arguments.protocol == "finetune":
            raise UserError("--protocol finetune trains students in their own windows; leave --support out")
        if max(arguments.support) > self.encoder.longest_window:
            raise UserError(
                f"--support {max(arguments.support):g}: the network sees {self.encoder.longest_window:g} s at once"
            )
        results = {seconds: self._supported(seconds) for seconds in sorted(set(arguments.support))}
        _print_study(results)
        write_json(folder / "support.json", {f"{seconds:g}": asdict(result) for seconds, result in results.items()})
        from distill.evaluation.pictures import support_figure
        from distill.run.pictures import save_figure

        title = f"{self.named.model}, {arguments.protocol} probe"
        save_figure(support_figure(results, title), folder / "support.png")
        print(f"written to {folder}")
        return results[max(results)]

    def _supported(self, seconds: float) -> ProbeResult:
        """Score the encoder in windows of one length."""
        self.encoder.cut_in(Windows(seconds=seconds))
        scored, clip = self._scored(f"embeddings_{seconds:g}s"), self.crop.seconds or _COSTED
        # Windows may be embedded one after another, so that no more than one must be held.
        cost = replace(cost_of(self.encoder, clip), memory=memory_of(self.encoder, min(seconds, clip)))
        return scored.result.of(self.named, cost)

    def _scored(self, name: str) -> Scored:
        """Embed the clips into a store of this name, and score them."""
        arguments = self.arguments
        store = fill_store(
            self.encoder, self.manifest, arguments.folder / name, self.crop, arguments.batch_size, "float32",
            arguments.workers, arguments.device,
        )  # fmt: skip
        report_set_aside(store.set_aside, self.manifest, arguments.folder / "set_aside.csv")
        return score_store(store, self.manifest, arguments.protocol, arguments.seeds, self.task, arguments.metric)

    def _finetuned(self) -> Scored:
        """Fine-tune the encoder on every fold, and score it."""
        from distill.evaluation.finetune import readable, score_finetuned

        arguments, student = self.arguments, self.encoder
        if not isinstance(student, Student):
            raise UserError("--protocol finetune trains students (--model)")
        where = "cpu" if choose_device(arguments.device).type == "cpu" else "gpu"
        engine = Engine(accelerator=where, workers=max(0, arguments.workers))
        clips = ClipDataset(self.manifest, student.sample_rate, self.crop)
        usable, aside = readable(clips, arguments.finetuning.batch_size, engine.workers)
        report_set_aside(aside, self.manifest, arguments.folder / "set_aside.csv")
        return score_finetuned(
            student, usable, self.crop, arguments.finetuning, arguments.folder, arguments.seeds, self.task,
            arguments.metric, engine,
        )  # fmt: skip


def labelled_manifest(data: str, task: str) -> Manifest:
    """Read labelled clips. Without any labels, the name of a clip's folder is its label. Raises UserError."""
    require_one_of("--task", task, TASKS)
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


def _print_study(results: Mapping[float, ProbeResult]) -> None:
    """Print a row for each temporal support."""
    metric = next(iter(results.values())).metric
    print(f"{'support':>8} {metric:>10} {'+-':>7} {'GFLOP':>8} {'ms':>8} {'MiB':>8}  a clip; MiB: a window")
    for seconds, result in results.items():
        measured = result.cost
        print(
            f"{seconds:7g}s {result.score:10.4f} {result.spread:7.4f} {measured['flops'] / 1e9:8.3g} "
            f"{measured['latency'] * 1000:8.3g} {measured['memory'] / 2**20:8.1f}"
        )
