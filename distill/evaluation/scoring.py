"""Scores of embeddings: choose hyper-parameters, score each split and collect one result.

A label that was not annotated has two forms. In training it is NaN in `AudioBatch.labels`, as a batch has one tensor of
labels. In `distill.evaluation` it is False in the mask `known`, as metrics and solvers need finite numbers. `labels_of`
is the only function that makes the mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.labels import multi_hot
from distill.data.clips.layouts import LAYOUTS
from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.evaluation.bootstrap import Floats, draw_weights, interval_of, resampled_scores
from distill.evaluation.metrics import METRICS, ClassScores, class_scores, coarse_accuracy, confusion, overall
from distill.evaluation.protocols import PROTOCOLS, Clips, LinearClassifier, Predict, Protocol
from distill.evaluation.results import ProbeResult
from distill.evaluation.splits import FOLDS, Rows, Split, splits_of
from distill.students.heads import Head


@dataclass(frozen=True)
class Labels:
    """Labels and parts of the clips of a data set.

    Args:
        names: Names of the classes, sorted.
        truth: 1 where a clip has a label, otherwise 0. Shape (clips, classes), float32.
        known: False where the label was not annotated. Shape (clips, classes), bool. None: all labels were annotated.
        parts: Split or fold of each clip; "" without one.
        recordings: Number of the recording that each clip is from. Shape (clips,), int64. None: each clip is one.
    """

    names: tuple[str, ...]
    truth: NDArray[np.float32]
    known: NDArray[np.bool_] | None
    parts: tuple[str, ...]
    recordings: NDArray[np.int64] | None = None

    @property
    def divides_recordings(self) -> bool:
        """Whether made folds divide recordings, as there are fewer than folds."""
        return self.recordings is not None and not any(self.parts) and len(set(self.recordings.tolist())) < FOLDS

    @property
    def single(self) -> bool:
        """Whether every clip has exactly one label."""
        return self.known is None and bool((self.truth.sum(1) == 1).all())

    @property
    def main(self) -> NDArray[np.int64]:
        """Rarest label of each clip, for the stratification of folds. Shape (clips,), int64."""
        return (self.truth / self.truth.sum(0).clip(min=1)).argmax(1)


def labels_of(rows: Sequence[Row], names: Sequence[str]) -> Labels:
    """Return the labels of some rows of a manifest.

    Args:
        rows: The clips.
        names: Names of all classes, sorted.

    Raises:
        UserError: a label is not among the names.
    """
    column = {name: number for number, name in enumerate(names)}
    for row in rows:
        if unknown := [label for label in (*row.labels, *row.annotated) if label not in column]:
            raise UserError(f"{row.id!r} has the label {unknown[0]!r}, which is not one of the {len(names)} classes")
    labels = np.array([multi_hot(row, column) for row in rows], dtype=np.float32).reshape(len(rows), len(names))
    known = ~np.isnan(labels) if any(row.annotated for row in rows) else None
    parts = tuple(row.split for row in rows)
    return Labels(tuple(names), np.nan_to_num(labels, copy=False), known, parts, _recordings(rows))


def _recordings(rows: Sequence[Row]) -> NDArray[np.int64] | None:
    """Return the number of the recording that each clip is from. None: each clip is one."""
    numbers: dict[object, int] = {}
    found = [numbers.setdefault((row.path, row.part), len(numbers)) for row in rows]
    return np.array(found, np.int64) if len(numbers) < len(rows) else None


@dataclass(frozen=True)
class Scored:
    """A result with its details.

    Args:
        result: Scores over all folds and seeds.
        labels: Labels of the clips.
        by_class: Scores of each class over all scored clips, with the first seed.
        confusion: Confusion matrix with the first seed; rows are true classes. None if a clip has several labels.
        samples: Score in each bootstrap resample of the test clips. Shape (resamples,). Resamples of equal clips are
            equal, so differences of two encoders are paired.
    """

    result: ProbeResult
    labels: Labels
    by_class: ClassScores
    confusion: NDArray[np.int64] | None
    samples: Floats


def score_store(
    store: EmbeddingStore,
    manifest: Manifest,
    protocol: str = "linear",
    seeds: int = 1,
    task: str = "auto",
    metric: str = "auto",
) -> Scored:
    """Score the embeddings of a store. Clips that are not in the store are left out. Raises as `score_embeddings`."""
    rows = list(manifest.rows.take(np.flatnonzero(store.rows_of(manifest.ids) >= 0)))
    if not rows:
        raise UserError(f"{store.path} has none of the {len(manifest)} clips of {manifest.source}")
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
    """Score embeddings over all folds and seeds.

    Args:
        embeddings: Shape (clips, dim).
        labels: Labels of the clips.
        protocol: Name of a protocol, one of `PROTOCOLS`.
        seeds: Number of seeds.
        task: Name of the data set, which has a metric; "auto" means none.
        metric: "accuracy", "mAP", "AUC", "d_prime", "F1" or "auto".

    Raises:
        UserError: the protocol or the metric is unknown, the metric does not fit the labels, or there is no split.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"--protocol {protocol}: must be one of {', '.join((*PROTOCOLS, 'finetune'))}")
    metric = choose_metric(metric, task, labels)
    clips = Clips(np.ascontiguousarray(embeddings, dtype=np.float32), labels.truth, labels.known, labels.single)
    runs = []
    for seed in range(seeds):
        splits = usable_splits(labels, seed)
        evaluator = _Evaluator(clips, PROTOCOLS[protocol], metric, seed)
        runs.append([(split, evaluator.scores(split)) for split in splits])
    return collect(runs, labels, protocol, task, metric, PROTOCOLS[protocol].threshold)


def linear_head(
    embeddings: NDArray[np.float32], labels: Labels, task: str = "auto", metric: str = "auto"
) -> tuple[Head, Rows, NDArray[np.float32]]:
    """Train the head of a linear probe that can be kept.

    If the data has a part to score, it is the head that the probe scores. Otherwise the probe has a head for each fold;
    the one to keep is trained on all clips, with the penalty that is best over the folds.

    Args:
        embeddings: Shape (clips, dim).
        labels: Labels of the clips.
        task: Name of the data set, which has a metric; "auto" means none.
        metric: "accuracy", "mAP", "AUC", "d_prime", "F1" or "auto".

    Returns:
        The head, rows of clips, and their logits by heads that were not trained on them. Shape (rows, classes).

    Raises:
        UserError: the metric does not fit the labels, or there is no split.
    """
    metric = choose_metric(metric, task, labels)
    clips = Clips(np.ascontiguousarray(embeddings, dtype=np.float32), labels.truth, labels.known, labels.single)
    splits = usable_splits(labels, seed=0)
    split = splits[0]
    if len(splits) > 1:
        pairs = tuple((split.train, split.test) for split in splits)
        split = Split("all", np.arange(len(embeddings)), pairs, np.arange(0))
    evaluator = _Evaluator(clips, PROTOCOLS["linear"], metric, seed=0)
    classifier, number = evaluator.chosen(split)
    assert isinstance(classifier, LinearClassifier)
    parts = list(evaluator.held_out(split, number))
    rows = np.concatenate([rows for rows, _ in parts]) if parts else np.arange(0)
    logits = np.concatenate([scores for _, scores in parts]) if parts else np.zeros((0, len(labels.names)), np.float32)
    return classifier.head(), rows, logits


def choose_metric(metric: str, task: str, labels: Labels) -> str:
    """Return the given metric; if it is "auto", that of the data set, or one that fits the labels. Raises UserError."""
    if metric == "auto":
        metric = LAYOUTS[task].metric if task in LAYOUTS else "accuracy" if labels.single else "mAP"
    if metric not in METRICS:
        raise UserError(f"--metric {metric}: must be one of {', '.join(METRICS)}")
    if metric == "accuracy" and not labels.single:
        raise UserError("--metric accuracy: clips of this data have several labels, or none; use mAP or AUC")
    if metric == "F1" and labels.single:
        raise UserError("--metric F1: each clip of this data has one label; use accuracy, mAP or AUC")
    return metric


def usable_splits(labels: Labels, seed: int) -> list[Split]:
    """Return the splits of a data set. Raises UserError if a split has no clips to train on or no labels to score."""
    splits = splits_of(labels.parts, labels.main, seed, labels.recordings)
    for split in splits:
        if len(split.train) == 0 or len(split.test) == 0:
            raise UserError(f"the part {split.name!r} leaves {len(split.train)} clips for training")
        trained = labels.truth[split.train].any(0)
        scored = labels.truth[split.test].any(0)
        if not scored.any():
            raise UserError(f"no clip of the part {split.name!r} has a label, so it cannot be scored")
        if missing := [labels.names[column] for column in np.flatnonzero(scored & ~trained)]:
            print(f"part {split.name!r}: no training clip has {missing[0]!r}; {len(missing)} classes have none")
    return splits


def collect(
    runs: list[list[tuple[Split, NDArray[np.float32]]]],
    labels: Labels,
    protocol: str,
    task: str,
    metric: str,
    threshold: float = 0.0,
) -> Scored:
    """Return one result.

    Args:
        runs: For each seed, the splits and the scores of their test clips, (clips, classes).
        labels: Labels of all clips.
        protocol: Name of the protocol.
        task: Name of the data set, or "auto".
        metric: Name of the metric of the score.
        threshold: Score above which F1 counts a label as predicted; 0 for logits.
    """
    coarser = LAYOUTS[task].coarser if task in LAYOUTS else {}
    groups = {name: [group(label) for label in labels.names] for name, group in coarser.items()}
    tables = [
        {split.name: _measure(scores, labels, split.test, threshold, groups) for split, scores in run} for run in runs
    ]
    measurements = [measured for table in tables for measured in table.values()]
    by_seed = [float(np.mean([measured[metric] for measured in table.values()])) for table in tables]
    folds = {name: float(np.mean([table[name][metric] for table in tables])) for name in tables[0]}
    metrics = {
        name: float(np.mean([measured[name] for measured in measurements]))
        for name in (*METRICS, *groups)
        if name != ("F1" if labels.single else "accuracy")
    }
    values = [measured[metric] for measured in measurements]
    rows = np.concatenate([split.test for split, _ in runs[0]])
    samples = _bootstrap(runs, labels, metric, threshold)
    result = ProbeResult(
        protocol, task, metric, float(np.mean(by_seed)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        folds, by_seed, metrics, len(labels.truth), len(labels.names), test_clips=len(rows),
        interval=interval_of(samples),
    )  # fmt: skip
    scores = np.concatenate([scores for _, scores in runs[0]])
    truth = labels.truth[rows]
    by_class = class_scores(scores, truth, None if labels.known is None else labels.known[rows])
    return Scored(result, labels, by_class, confusion(scores, truth) if labels.single else None, samples)


def _bootstrap(
    runs: list[list[tuple[Split, NDArray[np.float32]]]], labels: Labels, metric: str, threshold: float
) -> Floats:
    """Return the score in each resample of the test clips, as a mean over folds and seeds. Shape (resamples,).

    A resample is drawn from the test clips of all folds, and is the same for every seed.
    """
    scored = np.unique(np.concatenate([split.test for split, _ in runs[0]]))
    weights = draw_weights(len(scored))
    values = []
    for run in runs:
        for split, scores in run:
            drawn = weights[:, np.searchsorted(scored, split.test)]
            known = None if labels.known is None else labels.known[split.test]
            values.append(resampled_scores(metric, scores, labels.truth[split.test], known, drawn, threshold))
    usable = ~np.isnan(values)
    sums, counts = np.where(usable, values, 0).sum(0), usable.sum(0)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


def _measure(
    scores: NDArray[np.float32], labels: Labels, rows: Rows, threshold: float, groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Return every metric by name, and the accuracy over each grouping of the classes."""
    truth = labels.truth[rows]
    known = None if labels.known is None else labels.known[rows]
    coarse = {name: coarse_accuracy(scores, truth, group) for name, group in groups.items()}
    return overall(scores, truth, known, threshold) | coarse


class _Evaluator:
    """Chooses hyper-parameters and scores splits with one seed.

    Candidates are cached by their training clips, as inner splits of different folds often have the same ones.
    """

    def __init__(self, clips: Clips, protocol: Protocol, metric: str, seed: int) -> None:
        self.clips, self.protocol, self.metric, self.seed = clips, protocol, metric, seed
        self._candidates: dict[bytes, list[Predict]] = {}  # by the row indices of the training clips

    def scores(self, split: Split) -> NDArray[np.float32]:
        """Return the scores of the test clips of a split. Shape (clips, classes)."""
        embeddings = self.clips.embeddings[split.test]
        if self.protocol.chosen_on_test:
            candidates = self.protocol.candidates(self.clips.select(split.train), self.seed)
            scores = (candidate(embeddings) for candidate in candidates)
            return max(scores, key=lambda scores: self._value(scores, split.test))
        return self.chosen(split)[0](embeddings)

    def chosen(self, split: Split) -> tuple[Predict, int]:
        """Return the classifier that is chosen on the inner splits, and its number among the candidates."""
        trained = list(self.protocol.candidates(self.clips.select(split.train), self.seed))
        number = self._best(split, len(trained))
        return trained[number], number

    def held_out(self, split: Split, number: int) -> Iterator[tuple[Rows, NDArray[np.float32]]]:
        """Yield the rows of each inner part, and their scores by a candidate that was trained on the others."""
        for train, rows in split.inner:
            yield rows, self._candidates[train.tobytes()][number](self.clips.embeddings[rows])

    def _best(self, split: Split, candidates: int) -> int:
        """Return the index of the candidate with the best mean over the inner splits; the middle one without splits."""
        if not split.inner:
            return candidates // 2
        values = []
        for train, held_out in split.inner:
            key = train.tobytes()
            if key not in self._candidates:
                self._candidates[key] = list(self.protocol.candidates(self.clips.select(train), self.seed))
            embeddings = self.clips.embeddings[held_out]
            values.append([self._value(candidate(embeddings), held_out) for candidate in self._candidates[key]])
        common = min(candidates, *(len(row) for row in values))
        return int(np.nanargmax(np.mean([row[:common] for row in values], axis=0)))

    def _value(self, scores: NDArray[np.float32], rows: Rows) -> float:
        """Return the metric of the scores of these rows; 0 if it is not finite."""
        known = None if self.clips.known is None else self.clips.known[rows]
        value = overall(scores, self.clips.truth[rows], known, self.protocol.threshold)[self.metric]
        return value if np.isfinite(value) else 0.0
