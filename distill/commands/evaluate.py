"""`distill evaluate`: score a trained classifier on labelled clips."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distill.commands.arguments import ReadsClips, called_with, folder_of
from distill.commands.probe import labels_required
from distill.data.clips.dataset import Crop, Seconds
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.tables import split_name
from distill.data.errors import UserError, listed
from distill.data.files import finite, lock, write_json, write_text
from distill.data.store.format import SetAside
from distill.evaluation.calibration import reliability
from distill.evaluation.classified import ClassScore, Evaluation, confusion_of, evaluate_logits
from distill.evaluation.scoring import Labels, labels_of
from distill.evaluation.verdicts import interval_text
from distill.run.classifying import Scorer
from distill.run.encoders import introduction
from distill.run.folder import Run
from distill.run.held_out import part_clips
from distill.run.identity import data_digest
from distill.run.set_aside import report_set_aside
from distill.run.sound_share import printing
from distill.run.zero_shot import PROMPT, student_of_texts
from distill.students.decisions import probabilities_of

_MAX_NAMES = 8  # classes in a message
_COLUMNS = (
    "class", "clips", "precision", "recall", "F1", "F1_low", "F1_high", "average_precision", "average_precision_low",
    "average_precision_high", "AUC", "AUC_low", "AUC_high", "d_prime",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateArguments(ReadsClips):
    """The arguments of `evaluate`: a trained classifier and labelled clips.

    Args:
        model: Student with classes: a run folder, a student folder or a hub id.
        data: Labelled clips: a table, the folder of a published data set, or a folder with a sub-folder per class. In
            Python also `distill.Data`.
        out: Folder of the result. Empty: `evaluation/NAME-OF-DATA` in the run; here for a hub id.
        fold: Split or fold to score. Empty: the part "test"; without it, the clips that the run of `model` held out if
            this is its data; otherwise all clips.
        task: Published data set in the folder, such as "esc50". "auto": found by its files.
        space: Name of a teacher of the student that embeds texts, such as "clap": zero-shot classification, for which
            each class is a text. Empty: the classes of the student's own head.
        prompt: With `space`, the text of a class, with {} in place of its name.
        crop: Part of each clip that is scored. None: as long as in the training, from the middle.
        batch_size: Clips per batch.
        workers: Processes that decode audio. 0 decodes in the main process. -1: 0 on a CPU, up to 8 with a GPU.
        device: "cpu", "cuda", or "auto": a GPU if there is one.
        allow_import: Package from which the student's own class may be imported. None: no package.
        root: Folder of the audio of a table, which its paths are relative to. Empty: the folder of the table.
        label: Column of the labels of a table. Empty: found by its name.
        split: Column of the splits or folds of a table. Empty: found by its name.
    """

    model: str
    data: str | Data
    out: str = ""
    fold: str = ""
    task: str = "auto"
    space: str = ""
    prompt: str = PROMPT
    crop: Crop | None = None
    batch_size: int = 16
    workers: int = -1
    device: str = "auto"
    allow_import: str | None = None
    root: str = ""
    label: str = ""
    split: str = ""

    @property
    def folder(self) -> Path:
        """Folder of the result."""
        return Path(self.out) if self.out else folder_of(self.model, "") / "evaluation" / self.data_name


@called_with(EvaluateArguments)
def evaluate(arguments: EvaluateArguments, given: frozenset[str]) -> Evaluation:
    """Score a trained classifier on labelled clips, with the metrics of the field and 95 % bootstrap intervals.

    A student in the space of a teacher that embeds texts classifies without training (`space`).

    The folder of the result gets result.json, by_class.csv, reliability.png and, if each clip has one label,
    confusion.png.

    Returns:
        The scores over all classes and of each.

    Raises:
        UserError: the student has no classes, the data has no labels, or one that the student does not know.
    """
    manifest = read_manifest(arguments.source, arguments.task).labelled()
    scorer = _scorer(arguments, manifest)
    print(summary_of(manifest))
    _check_classes(manifest, scorer.student.labels, arguments.model)
    part, scored = scored_part(manifest, arguments.fold, Run(arguments.model), scorer.classifier.data)
    print(introduction(scorer.student))
    with lock(arguments.folder, "distill evaluate"):
        logits, labels = _scores(scorer, scored, arguments)
        model = f"{arguments.model}, zero-shot by {arguments.space}" if arguments.space else arguments.model
        named = {"model": model, "data": arguments.data_name, "part": part}
        result = evaluate_logits(logits, labels, scorer.classifier.kind, scorer.thresholds, named)
        _write(result, logits, labels, arguments.folder)
    _print(result, arguments.folder)
    return result


def _scorer(arguments: EvaluateArguments, manifest: Manifest) -> Scorer:
    """Return the scorer of the student's own classes, or of those of the data as texts."""
    own = arguments.batch_size, arguments.workers, arguments.device
    if not arguments.space:
        return Scorer.load(arguments.model, arguments.allow_import, *own)
    if not manifest.classes:
        raise labels_required(manifest)
    student = student_of_texts(
        arguments.model, arguments.space, manifest.classes, arguments.prompt, arguments.allow_import
    )
    return Scorer.of(student, *own)


def scored_part(manifest: Manifest, fold: str, run: Run, trained_on: str) -> tuple[str, Manifest]:
    """Return the clips to score, and a description of them.

    Args:
        manifest: All clips of the data.
        fold: Split or fold to score. Empty: "test"; without it, the clips that `run` held out if this is its data;
            otherwise all.
        run: Run of the student. Its folder need not be that of a run.
        trained_on: Digest of the data that the student was trained on. If it is this data, and clips are scored that
            were neither held out nor for testing, a line says that the scores are too high.

    Raises:
        UserError: the data has no such part, or no clip of it has a label.
    """
    names = set(np.unique(manifest.splits).tolist()) - {""}
    named = split_name(fold) or ("test" if "test" in names else "")
    is_own_data = trained_on == data_digest(manifest)
    held_out = _held_out(manifest, run) if is_own_data else None
    if named and named not in names:
        raise UserError(f"--fold {fold}: the data has {', '.join(sorted(names)) or 'no splits or folds'}")
    if named:
        part, scored = f"the part {named!r}", manifest.take(np.flatnonzero(manifest.splits == named))
    elif held_out is not None and len(held_out):
        part, scored = "the clips that the run held out", held_out
    else:
        part, scored = "all clips", manifest
    was_held_out = named == "test" or (held_out is not None and set(scored.ids) <= set(held_out.ids))
    if is_own_data and not was_held_out:
        print("the classes were learned from clips of this data, so the scores are too high")
    if not scored.classes:
        raise UserError(f"--data {manifest.source}: {part} of the data has no labels")
    return part, scored


def _held_out(manifest: Manifest, run: Run) -> Manifest | None:
    """Return the clips of its data that a run held out. None: the folder is not that of a run."""
    if not (run.path / "config.yaml").is_file():
        return None
    config = run.config
    return part_clips(manifest, str(config.get("fold") or ""), config.get("validation") or 0.0).held_out


def _check_classes(manifest: Manifest, classes: tuple[str, ...], model: str) -> None:
    """Raise UserError for data without labels, or with labels that the student does not know."""
    if not manifest.classes:
        raise labels_required(manifest)
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise UserError(
            f"--data {manifest.source}: {len(unknown)} of its {len(manifest.classes)} classes are unknown to {model}: "
            f"{listed([*map(repr, unknown)], _MAX_NAMES)}; its classes are {listed([*map(repr, classes)], _MAX_NAMES)}"
        )


def _scores(scorer: Scorer, manifest: Manifest, arguments: EvaluateArguments) -> tuple[np.ndarray, Labels]:
    """Return the logits of the usable clips (clips, classes), and their labels."""
    crop = arguments.crop or scorer.crop
    rows, parts, aside, seconds = list[int](), [], list[SetAside](), Seconds()
    for batch in scorer.scores(manifest, crop, "evaluate"):
        rows += batch.rows
        parts.append(batch.logits)
        aside += batch.set_aside
        seconds = seconds.plus(batch.seconds)
    report_set_aside(aside, manifest, arguments.folder / "set_aside.csv")
    if not rows:
        raise UserError(f"none of {len(manifest)} clips could be scored; the first: {aside[0].reason}")
    printing(crop, "--crop.seconds 0 uses all of it")(seconds)
    return np.concatenate(parts), labels_of(list(manifest.rows.take(np.array(rows))), scorer.student.labels)


def _write(result: Evaluation, logits: np.ndarray, labels: Labels, folder: Path) -> None:
    """Write result.json, by_class.csv and the pictures."""
    from distill.evaluation.pictures import confusion_figure, reliability_figure
    from distill.run.pictures import save_figure

    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(_COLUMNS)
    table.writerows(_cells(score) for score in result.classes)
    write_text(folder / "by_class.csv", text.getvalue())
    title = f"{result.model} on {result.data}"
    found = reliability(probabilities_of(logits, result.kind), labels.truth, labels.known, result.kind)
    save_figure(reliability_figure({"": found}, title), folder / "reliability.png")
    counts = confusion_of(logits, labels)
    if counts is None:
        (folder / "confusion.png").unlink(missing_ok=True)
    else:
        save_figure(confusion_figure(counts, labels.names, title), folder / "confusion.png")
    write_json(folder / "result.json", finite(asdict(result)))


def _cells(score: ClassScore) -> list[str]:
    """Return the row of a class, in the order of the columns."""
    values = [
        score.precision, score.recall, score.f1, *score.f1_interval, score.average_precision,
        *score.average_precision_interval, score.auc, *score.auc_interval, score.d_prime,
    ]  # fmt: skip
    return [score.name, str(score.clips), *(f"{value:.4f}" if math.isfinite(value) else "" for value in values)]


def _print(result: Evaluation, folder: Path) -> None:
    """Print all metrics with their intervals, the weakest classes, and those that do not occur."""
    print(f"{result.model} on {result.data}: {result.part}, {result.clips:,} clips, {len(result.classes)} classes")
    for name, value in result.metrics.items():
        print(f"  {name.replace('_', ' '):<17}  {value:7.4f}  {interval_text(result.intervals.get(name))}".rstrip())
    if absent := result.absent:
        names = listed([*map(repr, absent)], _MAX_NAMES)
        print(f"  {len(absent)} classes do not occur and are left out of the means: {names}")
    occurring = sorted((score for score in result.classes if score.clips), key=lambda score: score.average_precision)
    weakest = ", ".join(f"{score.name} {score.average_precision:.3f}" for score in occurring[:3])
    print(f"  lowest average precision: {weakest}; written to {folder}")
