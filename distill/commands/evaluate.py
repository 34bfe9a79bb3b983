"""`distill evaluate`: score a trained classifier on labelled clips."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from distill.commands.arguments import ReadsClips, called_with, folder_of
from distill.commands.probe import labels_required
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.tables import split_name
from distill.data.errors import UserError, listed
from distill.data.files import finite, lock, write_json, write_text
from distill.evaluation.calibration import reliability
from distill.evaluation.classified import ClassScore, Evaluation, confusion_of, evaluate_logits
from distill.evaluation.scoring import Labels
from distill.evaluation.verdicts import interval_text
from distill.run.classifying import Scorer
from distill.run.encoders import introduction
from distill.run.folder import Run
from distill.run.folds import ALL_FOLDS, fold_run, folds_of, has_folds
from distill.run.held_out import part_clips
from distill.run.identity import data_digest
from distill.run.scored import Scored, joined, score_clips
from distill.run.set_aside import report_set_aside
from distill.run.sound_share import printing
from distill.run.zero_shot import PROMPT, student_of_texts
from distill.students.decisions import probabilities_of

_MAX_NAMES = 8  # classes in a message
_FITTED = (
    "the probabilities were calibrated on these clips, so the calibration error is too low, and F1 of clips with "
    "several labels too high"
)
_COLUMNS = (
    "class", "clips", "precision", "recall", "F1", "F1_low", "F1_high", "average_precision", "average_precision_low",
    "average_precision_high", "AUC", "AUC_low", "AUC_high", "d_prime",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateArguments(ReadsClips):
    """The arguments of `evaluate`: a trained classifier and labelled clips.

    Args:
        model: Student with classes: a run folder, a student folder or a hub id. Or the folder of `distill fit --fold
            all`, whose students each score the fold that they did not learn from.
        data: Labelled clips: a table, the folder of a published data set, or a folder with a sub-folder per class. In
            Python also `distill.Data`.
        out: Folder of the result. Empty: `evaluation/NAME-OF-DATA` in the run; here for a hub id.
        fold: Split or fold to score. Empty: the part "test"; without it, the clips that the run of `model` held out if
            this is its data; otherwise all clips. For a folder of folds, empty means all of them.
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
    confusion.png; for all folds also folds.csv.

    Returns:
        The scores over all classes and of each.

    Raises:
        UserError: the student has no classes, the data has no labels, or one that the student does not know.
    """
    run = Run(arguments.model)
    if has_folds(run) and arguments.fold not in ("", ALL_FOLDS):
        arguments = replace(arguments, model=str(_run_of_fold(run, arguments.fold)))
    manifest = read_manifest(arguments.source, arguments.task).labelled()
    folds = _folds(arguments, manifest)
    scorers = _fold_scorers(arguments, manifest, folds) if folds else iter([_scorer(arguments, manifest)])
    scorer = next(scorers)
    print(summary_of(manifest))
    if folds:
        part = f"the folds {', '.join(folds)}, each by the student that did not learn from it"
        parts = [manifest.take(np.flatnonzero(manifest.splits == fold)) for fold in folds]
    else:
        _check_classes(manifest, scorer.student.labels, arguments.model)
        part, clips = scored_part(manifest, arguments.fold, Run(arguments.model), scorer.classifier.data)
        parts = [clips]
    print(introduction(scorer.student))
    crop = arguments.crop or scorer.crop
    with lock(arguments.folder, "distill evaluate"):
        several = zip(chain([scorer], scorers), parts, strict=True)
        scored = joined([score_clips(each, clips, crop, calibrated=not folds) for each, clips in several])
        _report(scored, manifest if folds else parts[0], crop, arguments.folder)
        if folds:
            scored = scored.calibrated_by_folds()
        model = f"{arguments.model}, zero-shot by {arguments.space}" if arguments.space else arguments.model
        named = {"model": model, "data": arguments.data_name, "part": part}
        result = evaluate_logits(scored.logits, scored.labels, scored.kind, scored.thresholds, named, folds)
        _write(result, scored.logits, scored.labels, arguments.folder)
    _print(result, arguments.folder)
    return result


def _folds(arguments: EvaluateArguments, manifest: Manifest) -> tuple[str, ...]:
    """Return the folds to score, each by its own student; none if one student scores all clips.

    Raises:
        UserError: the data has no usable folds, or the student of one is missing.
    """
    run = Run(arguments.model)
    if not has_folds(run) or arguments.space:
        if arguments.fold == ALL_FOLDS:
            raise UserError(f"--fold {ALL_FOLDS}: {run.path} is not the folder of `distill fit --fold {ALL_FOLDS}`")
        return ()
    folds = folds_of(manifest)
    for fold in folds:
        _run_of_fold(run, fold)
    return folds


def _run_of_fold(run: Run, fold: str) -> Path:
    """Return the folder of the run that held out a fold. Raises UserError if it has no student."""
    own = fold_run(run.path, fold)
    if not (own.student / "config.json").is_file():
        raise UserError(
            f"--model {run.path}: fold {fold} has no trained student; continue with: distill fit --resume true "
            f"--out {run.path}"
        )
    return own.path


def _fold_scorers(arguments: EvaluateArguments, manifest: Manifest, folds: Sequence[str]) -> Iterator[Scorer]:
    """Load the student of each fold in turn. Raises UserError if it was trained on other data."""
    own_data, folder = data_digest(manifest), Path(arguments.model)
    for fold in folds:
        path = fold_run(folder, fold).path
        scorer = Scorer.load(str(path), arguments.allow_import, *_place(arguments))
        if scorer.classifier.data != own_data:
            raise UserError(f"--data {manifest.source} is not the data of {folder}; score one student: --model {path}")
        yield scorer


def _place(arguments: EvaluateArguments) -> tuple[int, int, str]:
    """Return batch size, workers and device."""
    return arguments.batch_size, arguments.workers, arguments.device


def _scorer(arguments: EvaluateArguments, manifest: Manifest) -> Scorer:
    """Return the scorer of the student's own classes, or of those of the data as texts."""
    if not arguments.space:
        return Scorer.load(arguments.model, arguments.allow_import, *_place(arguments))
    if not manifest.classes:
        raise labels_required(manifest)
    student = student_of_texts(
        arguments.model, arguments.space, manifest.classes, arguments.prompt, arguments.allow_import
    )
    return Scorer.of(student, *_place(arguments))


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
    elif was_held_out and named != "test":
        print(_FITTED)
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


def _report(scored: Scored, manifest: Manifest, crop: Crop, folder: Path) -> None:
    """Say which clips and which share of them were not scored. Raises UserError if no clip was."""
    report_set_aside(scored.set_aside, manifest, folder / "set_aside.csv")
    if not scored.rows:
        raise UserError(f"none of {len(manifest)} clips could be scored; the first: {scored.set_aside[0].reason}")
    printing(crop, "--crop.seconds 0 uses all of it")(scored.seconds)


def _write(result: Evaluation, logits: np.ndarray, labels: Labels, folder: Path) -> None:
    """Write result.json, by_class.csv and the pictures."""
    from distill.evaluation.pictures import confusion_figure, reliability_figure
    from distill.run.pictures import save_figure

    write_text(folder / "by_class.csv", _csv([_COLUMNS, *map(_cells, result.classes)]))
    if result.folds:
        write_text(folder / "folds.csv", _csv(_fold_rows(result)))
    else:
        (folder / "folds.csv").unlink(missing_ok=True)
    title = f"{result.model} on {result.data}"
    found = reliability(probabilities_of(logits, result.kind), labels.truth, labels.known, result.kind)
    save_figure(reliability_figure({"": found}, title), folder / "reliability.png")
    counts = confusion_of(logits, labels)
    if counts is None:
        (folder / "confusion.png").unlink(missing_ok=True)
    else:
        save_figure(confusion_figure(counts, labels.names, title), folder / "confusion.png")
    write_json(folder / "result.json", finite(asdict(result)))


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _fold_rows(result: Evaluation) -> Iterator[list[str]]:
    """Yield the header, the rows of the folds, their mean and their standard deviation."""
    yield ["fold", "clips", *result.over_folds]
    for fold in result.folds:
        yield [fold.name, str(fold.clips), *(_cell(fold.metrics[name]) for name in result.over_folds)]
    yield ["mean", "", *(_cell(over.mean) for over in result.over_folds.values())]
    yield ["standard deviation", "", *(_cell(over.deviation) for over in result.over_folds.values())]


def _cell(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""


def _cells(score: ClassScore) -> list[str]:
    """Return the row of a class, in the order of the columns."""
    values = [
        score.precision, score.recall, score.f1, *score.f1_interval, score.average_precision,
        *score.average_precision_interval, score.auc, *score.auc_interval, score.d_prime,
    ]  # fmt: skip
    return [score.name, str(score.clips), *map(_cell, values)]


def _print(result: Evaluation, folder: Path) -> None:
    """Print all metrics with their intervals, the weakest classes, and those that do not occur."""
    print(f"{result.model} on {result.data}: {result.part}, {result.clips:,} clips, {len(result.classes)} classes")
    for name, value in result.metrics.items():
        over = result.over_folds.get(name)
        text = f"  mean of folds {over.mean:.4f}, standard deviation {over.deviation:.4f}" if over else ""
        interval = interval_text(result.intervals.get(name))
        print(f"  {name.replace('_', ' '):<17}  {value:7.4f}  {interval:<16}{text}".rstrip())
    if result.folds:
        metric = "accuracy" if "accuracy" in result.metrics else "mAP"
        print(f"  {metric} of folds: " + ", ".join(f"{one.name}: {one.metrics[metric]:.4f}" for one in result.folds))
    if absent := result.absent:
        names = listed([*map(repr, absent)], _MAX_NAMES)
        print(f"  {len(absent)} classes do not occur and are left out of the means: {names}")
    occurring = sorted((score for score in result.classes if score.clips), key=lambda score: score.average_precision)
    weakest = ", ".join(f"{score.name} {score.average_precision:.3f}" for score in occurring[:3])
    print(f"  lowest average precision: {weakest}; written to {folder}")
