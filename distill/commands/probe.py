"""`distill probe`: score the embeddings of an encoder on labelled clips by a named protocol."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from distill.commands.arguments import ReadsClips, called_with, folder_of
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.encoders.encoder import Encoder
from distill.data.encoders.registry import Written
from distill.data.encoders.windows import Windows
from distill.data.errors import UserError, require_one_of
from distill.data.files import lock, write_json, write_text
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.bootstrap import Difference, difference_of, interval_of
from distill.evaluation.cost import cost_of, memory_of
from distill.evaluation.protocols import PROTOCOLS
from distill.evaluation.results import MEL, Baseline, Named, ProbeResult
from distill.evaluation.scoring import Scored, choose_metric, labels_of, score_store
from distill.evaluation.settings import FineTuning
from distill.evaluation.splits import splits_of
from distill.evaluation.verdicts import DIVIDED, score_lines, verdicts
from distill.run.baselines import baselines_of
from distill.run.embeddings import Upkeep, fill_store
from distill.run.encoders import choose_device, encoder_of, introduction
from distill.run.identity import identity
from distill.run.recipe import stored_crop
from distill.run.set_aside import report_set_aside
from distill.run.sound_share import printing
from distill.run.start_checks import check_lengths
from distill.students.saved import card_of
from distill.students.student import Student
from distill.teachers import TEACHERS
from distill.teachers.teacher import Teacher
from distill.training.engine import Engine

TASKS = ("auto", *LAYOUTS)
_MAX_NAMES = 10  # columns in a message
_COST_SECONDS = 10.0  # duration of the clip for which the cost is measured


@dataclass(frozen=True)
class ProbeArguments(ReadsClips):
    """The arguments of `probe`: encoder, labelled clips and protocol.

    Args:
        data: Labelled clips: a table, the folder of a published data set, or a folder with a sub-folder per class. In
            Python also `distill.Data`.
        model: Trained student to score: a run folder, a student folder or a hub id. None: use `teacher`.
        teacher: Teacher to score: a registered name, an import path, or an object. None: use `model`.
        protocol: "linear" (logistic regression), "mlp" (one hidden layer), "knn", or "finetune" (all weights are
            trained). "linear_best_test_epoch" selects the epoch on the test clips, as S-SONDO does for ESC-50. Its
            scores are too high.
        task: Published data set in the folder, such as "esc50" or "nsynth_pitch". "auto": found by its files.
        metric: "accuracy", "mAP", "AUC", "d_prime" or "F1". "auto": that of the data set, or one that fits the labels.
        seeds: Number of seeds. The result holds the mean and the spread over them.
        support: Temporal supports in seconds, such as 0.5,1,2,5,10. Clips are embedded in windows of each length, and
            scores and costs are compared (as in arXiv 2312.14005). Empty: one score, with the encoder's own windows.
        out: Folder of the embeddings and the result. Empty: `probe/NAME-OF-DATA` in the run.
        crop: Part of each clip that is embedded. None: that of the store of a teacher that reads one, otherwise at most
            10 s, centred.
        finetuning: Settings of the protocol "finetune".
        batch_size: Clips per batch for embedding. `finetuning` has its own.
        workers: Processes that decode audio. 0 decodes in the main process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package from which the student's own class, or that of its teacher, may be imported. None: no
            package.
        untrained: Score random weights instead of those of `model`: the baseline of the trained student.
        baselines: Also score mel statistics, the untrained student, and the teacher of `model` if its run names it and
            it can be built. Protocols on frozen embeddings only, without `support`.
        save_head: Keep the student of `model` with the head of the probe in the folder of the result, for `evaluate`,
            `predict`, `export` and `distill.load`. `model` itself is not changed. Protocol "linear" only.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits or folds of a table. Empty: found by its name.
    """

    data: str | Data
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
    untrained: bool = False
    baselines: bool = True
    save_head: bool = False
    root: str = ""
    label: str = ""
    split: str = ""

    def check(self) -> None:
        """Raise UserError for an invalid value, before anything is loaded."""
        require_one_of("--protocol", self.protocol, (*PROTOCOLS, "finetune"))
        require_one_of("--task", self.task, TASKS)
        if self.seeds < 1:
            raise UserError(f"--seeds {self.seeds}: must be at least 1")
        if self.save_head and (self.model is None or self.untrained or self.support or self.protocol != "linear"):
            raise UserError("--save_head: keeps the linear head of a trained student (--model, --protocol linear)")
        if any(not 0.01 <= seconds < math.inf for seconds in self.support):
            raise UserError(f"--support {list(self.support)}: must be seconds, at least 0.01")

    @property
    def folder(self) -> Path:
        """Folder of the embeddings and the result."""
        name = self.data_name
        name = name if self.task == "auto" else f"{name}_{self.task}"
        return Path(self.out) if self.out else folder_of(self.model, "probe") / "probe" / name


@called_with(ProbeArguments)
def probe(arguments: ProbeArguments, given: frozenset[str]) -> ProbeResult:
    """Score an encoder on labelled clips that it was not trained on.

    Folds or splits are those of the data: a column `fold` or `split`, or the layout of a known data set. Otherwise
    five folds are made. Hyper-parameters are chosen on the validation part, or by folds inside the training clips,
    and never on the test clips. The result also holds the cost of the encoder.

    Returns:
        The result. With `support` it is that of the longest, since the best one would be chosen on the test clips.

    Raises:
        UserError: there are no labels, an argument is unknown, or the folder does not hold the named data set.
    """
    arguments.check()
    manifest, task = labelled_manifest(arguments.source, arguments.task), arguments.task
    print(summary_of(manifest))
    if task == "auto" and manifest.notes.layout in LAYOUTS:
        task = manifest.notes.layout
    # These raise for wrong arguments and labels now, not after a long embedding.
    labels = labels_of(manifest.rows, manifest.classes)
    choose_metric(arguments.metric, task, labels)
    splits_of(labels.parts, labels.main, recordings=labels.recordings)
    if labels.divides_recordings:
        print(DIVIDED)
    encoder = encoder_of(arguments.teacher, arguments.model, arguments.allow_import, arguments.untrained)
    print(introduction(encoder))
    measurement = Measurement(arguments, manifest, task, encoder)
    with lock(arguments.folder, "distill probe"):
        return measurement.study() if arguments.support else measurement.score()


@dataclass(frozen=True)
class Measurement:
    """The scoring of one encoder on one data set.

    Args:
        arguments: Arguments of `probe`.
        manifest: Labelled clips.
        task: Name of the published data set. "auto": none was found.
        encoder: Encoder to score.
    """

    arguments: ProbeArguments
    manifest: Manifest
    task: str
    encoder: Encoder

    @property
    def named(self) -> Named:
        """Names of the data, the encoder and its teachers, for the result."""
        name, encoder = self.arguments.data_name, self.encoder
        teachers = dict(encoder.teachers) if isinstance(encoder, Student) else {}
        model = self.arguments.model or TEACHERS.name_of(type(encoder))
        return Named(name, f"{model}, untrained" if self.arguments.untrained else model, identity(encoder), teachers)

    @property
    def crop(self) -> Crop:
        """Part of each clip that is embedded."""
        return self.arguments.crop or stored_crop(self.encoder) or Crop()

    def score(self) -> ProbeResult:
        """Score the encoder by one protocol, and write the result."""
        arguments, folder = self.arguments, self.arguments.folder / self.arguments.protocol
        is_finetuned = arguments.protocol == "finetune"
        scored = self._finetuned() if is_finetuned else self._scored("embeddings", self.encoder)
        reads_store = isinstance(self.encoder, Teacher) and self.encoder.store is not None
        result = scored.result.of(self.named, None if reads_store else cost_of(self.encoder, _COST_SECONDS))
        if arguments.baselines and not is_finetuned:
            result = replace(result, baselines=tuple(self._baselines(scored)))
        _write(replace(scored, result=result), folder)
        _print(result, str(arguments.source.path), folder)
        if arguments.save_head:
            self._keep_head(scored, folder)
        return result

    def _keep_head(self, scored: Scored, folder: Path) -> None:
        """Save a copy of the student with the head of the probe in the folder of the result."""
        from distill.run.calibrating import keep_head

        store, model = EmbeddingStore(self.arguments.folder / "embeddings"), self.arguments.model or ""
        card, metric = card_of(model), scored.result.metric
        assert isinstance(self.encoder, Student)
        for line in keep_head(self.encoder, card, store, self.manifest, self.task, metric, self.crop, folder):
            print(line)

    def _baselines(self, scored: Scored) -> Iterator[Baseline]:
        """Score the baselines of the encoder on the same clips, and yield them; mel statistics first."""
        arguments = self.arguments
        references = baselines_of(self.encoder, arguments.model, arguments.untrained, arguments.allow_import)
        mel: Scored | None = None
        for reference in references:
            print(f"baseline: {reference.model}")
            own = self._scored(reference.folder, reference.encoder)
            if own.result.clips != scored.result.clips:
                print(f"{reference.model} is left out: it embedded {own.result.clips} of {scored.result.clips} clips")
                continue
            mel = own if reference.role == MEL else mel
            yield Baseline(
                reference.role,
                reference.model,
                identity(reference.encoder),
                own.result.score,
                interval_of(own.samples),
                _lead(scored, own),
                None if mel is None or mel is own else _lead(own, mel),
                cost_of(reference.encoder, _COST_SECONDS),
            )

    def study(self) -> ProbeResult:
        """Score every temporal support, write a table and a picture, and return the result of the longest."""
        arguments, folder = self.arguments, self.arguments.folder
        if arguments.protocol == "finetune":
            raise UserError("--protocol finetune trains students in their own windows; omit --support")
        if max(arguments.support) > (longest := self.encoder.longest_window):
            raise UserError(f"--support {max(arguments.support):g}: must be at most {longest:g} s, the longest input")
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
        self.encoder.cut_in(Windows(seconds=seconds, hop=0.0))  # side by side, as in the paper
        scored, clip_seconds = (
            self._scored(f"embeddings_{seconds:g}s", self.encoder),
            self.crop.seconds or _COST_SECONDS,
        )
        # Windows can be embedded one after another, so that memory must hold only one.
        cost = replace(cost_of(self.encoder, clip_seconds), memory=memory_of(self.encoder, min(seconds, clip_seconds)))
        return scored.result.of(self.named, cost)

    def _scored(self, name: str, encoder: Encoder) -> Scored:
        """Embed the clips into a store, and score them. `name` is the name of its folder."""
        arguments = self.arguments
        on_sound = printing(self.crop, "--crop.seconds 0 uses all of it")
        upkeep = Upkeep(on_sound=on_sound) if encoder is self.encoder else Upkeep()  # once, and not for each baseline
        store = fill_store(
            encoder, self.manifest, arguments.folder / name, self.crop, arguments.batch_size, "float32",
            arguments.workers, arguments.device, upkeep=upkeep,
        )  # fmt: skip
        report_set_aside(store.set_aside, self.manifest, arguments.folder / "set_aside.csv")
        return score_store(store, self.manifest, arguments.protocol, arguments.seeds, self.task, arguments.metric)

    def _finetuned(self) -> Scored:
        """Fine-tune the encoder on every fold, and score it."""
        from distill.evaluation.finetune import readable, score_finetuned

        arguments, student = self.arguments, self.encoder
        if not isinstance(student, Student):
            raise UserError("--protocol finetune trains students (--model)")
        accelerator = "cpu" if choose_device(arguments.device).type == "cpu" else "gpu"
        engine = Engine(accelerator=accelerator, workers=max(0, arguments.workers))
        check_lengths(self.manifest, self.crop)
        clips = ClipDataset(self.manifest, student.sample_rate, self.crop)
        usable, aside = readable(clips, arguments.finetuning.batch_size, engine.workers)
        report_set_aside(aside, self.manifest, arguments.folder / "set_aside.csv")
        return score_finetuned(
            student, usable, self.crop, arguments.finetuning, arguments.folder, arguments.seeds, self.task,
            arguments.metric, engine,
        )  # fmt: skip


def labelled_manifest(data: str | Data, task: str) -> Manifest:
    """Read the labelled clips of a data set. If no clip of a folder has a label, each takes the name of its folder.

    Args:
        data: A table, the folder of a published data set, or a folder with a sub-folder per class.
        task: Published data set in the folder. "auto": found by its files.

    Raises:
        UserError: the task is unknown, or there are fewer than two classes.
    """
    require_one_of("--task", task, TASKS)
    manifest = read_manifest(data, task).labelled()
    if len(manifest.classes) < 2:
        raise labels_required(manifest)
    return manifest


def labels_required(manifest: Manifest) -> UserError:
    """Return the error of clips without labels, or with the same for all."""
    unread = manifest.notes.unread_columns
    hint = f"; the columns {', '.join(unread[:_MAX_NAMES])} are not read, --label names one" if unread else ""
    return UserError(
        f"--data {manifest.source}: two classes are required (a column of labels, or a sub-folder per class){hint}"
    )


def _write(scored: Scored, folder: Path) -> None:
    """Write result.json, by_class.csv and, if each clip has one label, confusion.png."""
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


def _lead(scored: Scored, other: Scored) -> Difference:
    """Return the difference of two scores on the same clips."""
    return difference_of(scored.result.score, other.result.score, scored.samples, other.samples)


def _print(result: ProbeResult, data: str, folder: Path) -> None:
    """Print the scores of the encoder and of its baselines, conclusions, and the cost of the encoder."""
    folds = ", ".join(f"{name}: {score:.4f}" for name, score in result.folds.items())
    others = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if name != result.metric)
    parts = f"{len(result.folds)} folds" if len(result.folds) > 1 else f"the part {next(iter(result.folds))!r}"
    seeds = f" and {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    print(
        f"{result.protocol} probe on {data}: {result.metric} with 95 % intervals, {result.test_clips:,} test clips of "
        f"{result.clips:,}, {result.classes} classes, {parts}{seeds}"
    )
    print("\n".join(score_lines(result)))
    repeated = len(result.folds) * len(result.seeds) > 1
    if repeated:
        print(f"  parts {folds}; standard deviation {result.spread:.4f}")
    print(f"  also {others}")
    if cost := result.cost:
        parameters = "unknown" if cost.parameters is None else f"{cost.parameters:,}"
        print(
            f"  {parameters} parameters, {cost.flops / 1e9:.3g} GFLOP and {cost.latency * 1000:.3g} ms for "
            f"{cost.seconds:g} s of sound on {cost.device}; written to {folder}"
        )
    for verdict in verdicts(result, "the student" if result.teachers else result.model):
        print(verdict)


def _print_study(results: Mapping[float, ProbeResult]) -> None:
    """Print a row for each temporal support."""
    metric = next(iter(results.values())).metric
    print(f"{'support':>8} {metric:>10} {'+-':>7} {'GFLOP':>8} {'ms':>8} {'MiB':>8}  a clip; MiB: a window")
    for seconds, result in results.items():
        if cost := result.cost:
            print(
                f"{seconds:7g}s {result.score:10.4f} {result.spread:7.4f} {cost.flops / 1e9:8.3g} "
                f"{cost.latency * 1000:8.3g} {cost.memory / 2**20:8.1f}"
            )
