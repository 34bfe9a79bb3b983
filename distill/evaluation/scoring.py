"""From embeddings and labels to a result that can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.labels import multi_hot
from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.cost import Cost
from distill.evaluation.metrics import METRICS, ClassScores, class_scores, coarse_accuracy, confusion, overall
from distill.evaluation.protocols import PROTOCOLS, Clips, Predict, Protocol
from distill.evaluation.splits import Rows, Split, splits_of


@dataclass(frozen=True)
class Labels:
    """What the clips of a data set are known to be.

    Args:
        names: Of the classes, sorted. (classes,)
        truth: 1 where a clip has a label. Shape (clips, classes), float32.
        known: False where the label was not annotated. None: all labels were annotated. Shape (clips, classes).
        parts: Split or fold of each clip.
    """

    names: tuple[str, ...]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_] | None
    parts: tuple[str, ...]

    @property
    def single(self) -> bool:
        """Whether every clip has exactly one label."""
        return self.known is None and bool((self.truth.sum(1) == 1).all())

    @property
    def main(self) -> NDArray[np.int64]:
        """A class of each clip, by which folds are stratified: its rarest label. Shape (clips,)."""
        return (self.truth / self.truth.sum(0).clip(min=1)).argmax(1)


def labels_of(rows: Sequence[Row], names: Sequence[str]) -> Labels:
    """Labels of some rows of a manifest.

    Args:
        rows: The clips.
        names: All classes, sorted.

    Raises:
        UserError: a label that is not among the names.
    """
    column = {name: number for number, name in enumerate(names)}
    for row in rows:
        if unknown := [label for label in (*row.labels, *row.annotated) if label not in column]:
            raise UserError(f"{row.id!r} has the label {unknown[0]!r}, which is not one of the {len(names)} classes")
    labels = np.array([multi_hot(row, column) for row in rows], dtype=np.float32).reshape(len(rows), len(names))
    known = ~np.isnan(labels) if any(row.annotated for row in rows) else None
    return Labels(tuple(names), np.nan_to_num(labels, copy=False), known, tuple(row.split for row in rows))


class Named(NamedTuple):
    """What a result is of.

    Args:
        data: Name of the folder or table.
        model: What was measured.
        identity: Of what was measured.
        teachers: Whom it imitates: identity of each by its name.
    """

    data: str
    model: str
    identity: str
    teachers: dict[str, str]


@dataclass(frozen=True)
class ProbeResult:
    """Scores of one encoder on one data set.

    Args:
        protocol: Name of how it was measured; scores of different protocols are not to be compared.
        task: Of the data set, or "auto".
        metric: What `score` is.
        score: Mean over folds and seeds.
        spread: Standard deviation over all folds and seeds; 0 with one measurement.
        folds: Score of each fold, the mean over seeds, by its name.
        seeds: Score of each seed, the mean over folds.
        metrics: All that fit the labels, means over folds and seeds: mAP, AUC and d_prime; accuracy where each clip has
            one label, and F1 where not; and what the data set has besides.
        clips: Clips that were used.
        classes: How many.
        data: Name of the folder or table.
        model: What was measured.
        identity: Of what was measured: class, options and weights.
        teachers: Whom it imitates: identity of each by its name.
        cost: Parameters, operations, seconds and bytes of a clip of 10 s; empty where not measured.
    """

    protocol: str
    task: str
    metric: str
    score: float
    spread: float
    folds: dict[str, float]
    seeds: list[float]
    metrics: dict[str, float]
    clips: int
    classes: int
    data: str = ""
    model: str = ""
    identity: str = ""
    teachers: dict[str, str] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    def of(self, named: Named, cost: Cost) -> ProbeResult:
        """The same scores with the names of the data, of what was measured and of its teachers, and what it costs."""
        return replace(self, **named._asdict(), cost=asdict(cost))


@dataclass(frozen=True)
class Scored:
    """A result, and what stands behind it.

    Args:
        result: The numbers.
        labels: Of the clips.
        by_class: Scores of each class over all clips that were scored, with the first seed.
        confusion: Clips of class (row) taken for class (column), with the first seed; None where a clip has several.
    """

    result: ProbeResult
    labels: Labels
    by_class: ClassScores
    confusion: NDArray[np.int64] | None


def score_store(
    store: EmbeddingStore,
    manifest: Manifest,
    protocol: str = "linear",
    seeds: int = 1,
    task: str = "auto",
    metric: str = "auto",
) -> Scored:
    """Read embeddings that are in a store; clips that it lacks are left out."""
    rows = [row for row in manifest.rows if row.id in store]
    if not rows:
        raise UserError(f"{store.path} holds none of the {len(manifest)} clips of {manifest.source}")
    return score_embeddings(
        store[[r.id for r in rows]], labels_of(rows, manifest.classes), protocol, seeds, task, metric
    )


def score_embeddings(
    embeddings: NDArray[np.float32],
    labels: Labels,
    protocol: str = "linear",
    seeds: int = 1,
    task: str = "auto",
    metric: str = "auto",
) -> Scored:
    """Read embeddings (clips, dim) by a protocol, over all folds and seeds.

    Raises:
        UserError: an unknown protocol or metric, labels that the metric does not fit, or parts that cannot be split.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"--protocol {protocol}: one of {', '.join((*PROTOCOLS, 'finetune'))} is wanted")
    metric = choose_metric(metric, task, labels)
    clips = Clips(np.ascontiguousarray(embeddings, dtype=np.float32), labels.truth, labels.known, labels.single)
    runs = []
    for seed in range(seeds):
        splits = usable_splits(labels, seed)
        reader = _Reader(clips, PROTOCOLS[protocol], metric, seed)
        runs.append([(split, reader.scores(split)) for split in splits])
    return collect(runs, labels, protocol, task, metric, PROTOCOLS[protocol].threshold)


def choose_metric(metric: str, task: str, labels: Labels) -> str:
    """The metric that was asked for, else that of the data set, else what its labels allow. Raises UserError."""
    if metric == "auto":
        metric = LAYOUTS[task].metric if task in LAYOUTS else "accuracy" if labels.single else "mAP"
    if metric not in METRICS:
        raise UserError(f"--metric {metric}: one of {', '.join(METRICS)} is wanted")
    if metric == "accuracy" and not labels.single:
        raise UserError("--metric accuracy: clips of this data have several labels, or none; mAP or AUC is wanted")
    if metric == "F1" and labels.single:
        raise UserError("--metric F1: each clip of this data has one label; accuracy, mAP or AUC is wanted")
    return metric


def usable_splits(labels: Labels, seed: int) -> list[Split]:
    """The measurements of a data set. Raises UserError where nothing could be learned or scored."""
    splits = splits_of(labels.parts, labels.main, seed)
    for split in splits:
        if len(split.train) == 0 or len(split.test) == 0:
            raise UserError(f"the part {split.name!r} leaves {len(split.train)} clips to learn from")
        learned = labels.truth[split.train].any(0)
        scored = labels.truth[split.test].any(0)
        if not scored.any():
            raise UserError(f"no clip of the part {split.name!r} has a label, so nothing can be scored on it")
        if missing := [labels.names[column] for column in np.flatnonzero(scored & ~learned)]:
            print(f"part {split.name!r}: no training clip has {missing[0]!r}; {len(missing)} classes cannot be learned")
    return splits


def collect(
    runs: list[list[tuple[Split, NDArray[np.float32]]]],
    labels: Labels,
    protocol: str,
    task: str,
    metric: str,
    threshold: float = 0.0,
) -> Scored:
    """One result from the scores (clips of the split, classes) of every split, for every seed.

    A label counts as given, for F1, where its score is above the threshold; that of logits is 0.
    """
    groups = {
        name: [group(label) for label in labels.names]
        for name, group in (LAYOUTS[task].coarser if task in LAYOUTS else {}).items()
    }
    tables = []
    for run in runs:
        table = {}
        for split, scores in run:
            known = None if labels.known is None else labels.known[split.test]
            truth = labels.truth[split.test]
            table[split.name] = overall(scores, truth, known, threshold) | {
                name: coarse_accuracy(scores, truth, group) for name, group in groups.items()
            }
        tables.append(table)
    by_seed = [float(np.mean([numbers[metric] for numbers in table.values()])) for table in tables]
    folds = {name: float(np.mean([table[name][metric] for table in tables])) for name in tables[0]}
    metrics = {
        name: float(np.mean([numbers[name] for table in tables for numbers in table.values()]))
        for name in (*METRICS, *groups)
        if name != ("F1" if labels.single else "accuracy")
    }
    spread = [numbers[metric] for table in tables for numbers in table.values()]
    result = ProbeResult(
        protocol, task, metric, float(np.mean(by_seed)), float(np.std(spread, ddof=1)) if len(spread) > 1 else 0.0,
        folds, by_seed, metrics, len(labels.truth), len(labels.names),
    )  # fmt: skip
    rows = np.concatenate([split.test for split, _ in runs[0]])
    scores = np.concatenate([scores for _, scores in runs[0]])
    truth = labels.truth[rows]
    by_class = class_scores(scores, truth, None if labels.known is None else labels.known[rows])
    return Scored(result, labels, by_class, confusion(scores, truth) if labels.single else None)


class _Reader:
    """Chooses hyper-parameters and scores, fold by fold. Folds that leave out the same clips share their training."""

    def __init__(self, clips: Clips, protocol: Protocol, metric: str, seed: int) -> None:
        self.clips, self.protocol, self.metric, self.seed = clips, protocol, metric, seed
        self._trained: dict[bytes, list[Predict]] = {}

    def scores(self, split: Split) -> NDArray[np.float32]:
        """Of the clips of the split's test part. Shape (clips, classes)."""
        embeddings = self.clips.embeddings[split.test]
        if self.protocol.chosen_on_test:
            scored = (
                candidate(embeddings) for candidate in self.protocol.candidates(self.clips.at(split.train), self.seed)
            )
            return max(scored, key=lambda scores: self._value(scores, split.test))
        candidates = list(self.protocol.candidates(self.clips.at(split.train), self.seed))
        return candidates[self._best(split, len(candidates))](embeddings)

    def _best(self, split: Split, candidates: int) -> int:
        """Number of the candidate that is best on the clips held out of training, in the mean over inner splits."""
        if not split.inner:
            return candidates // 2
        values = []
        for train, held_out in split.inner:
            key = train.tobytes()
            if key not in self._trained:
                self._trained[key] = list(self.protocol.candidates(self.clips.at(train), self.seed))
            embeddings = self.clips.embeddings[held_out]
            values.append([self._value(candidate(embeddings), held_out) for candidate in self._trained[key]])
        shortest = min(candidates, *(len(row) for row in values))
        return int(np.nanargmax(np.mean([row[:shortest] for row in values], axis=0)))

    def _value(self, scores: NDArray[np.float32], rows: Rows) -> float:
        known = None if self.clips.known is None else self.clips.known[rows]
        value = overall(scores, self.clips.truth[rows], known, self.protocol.threshold)[self.metric]
        return value if np.isfinite(value) else 0.0
