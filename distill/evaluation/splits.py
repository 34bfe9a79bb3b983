"""Splits of a data set into clips for training, for the choice of hyper-parameters and for scoring, without overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError

Rows = NDArray[np.int64]
FOLDS = 5  # made if the data has none


class Split(NamedTuple):
    """Row indices for one measurement.

    Args:
        name: Name of the scored part.
        train: Rows for training.
        inner: Pairs of rows for training and rows for the choice of hyper-parameters; never a row of `test`.
        test: Rows to score.
    """

    name: str
    train: Rows
    inner: tuple[tuple[Rows, Rows], ...]
    test: Rows


def splits_of(
    names: Sequence[str], classes: NDArray[np.int64], seed: int = 0, recordings: NDArray[np.int64] | None = None
) -> list[Split]:
    """Return the splits of a data set.

    - With a part "test", there is one split. The part "validation", if there is one, is for the choice of
      hyper-parameters only. Otherwise folds of the training clips are made for it.
    - With a part "validation" and no "test", the validation part is scored. Folds of the other clips are made for the
      choice of hyper-parameters.
    - With folds, each fold is scored in turn. The other folds are for the choice of hyper-parameters in turn.
    - Otherwise, five folds are made.

    Made folds do not divide a recording, unless there are fewer than five.

    Args:
        names: Part of each clip: "training", "validation", "test", the name of a fold, or "".
        classes: Class of each clip, for the stratification of made folds. Shape (clips,), int64.
        seed: Seed of made folds.
        recordings: Number of the recording that each clip is from. Shape (clips,). None: each clip is one.

    Raises:
        UserError: some clips have a fold and others have none.
    """
    parts = np.array(names)
    sources = np.arange(len(names)) if recordings is None else recordings
    test, validation = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "validation")
    train = np.flatnonzero((parts != "test") & (parts != "validation"))
    if len(test) and len(validation):
        return [Split("test", train, ((train, validation),), test)]
    if len(test) or len(validation):
        name, scored = ("test", test) if len(test) else ("validation", validation)
        return [Split(name, train, _inner_pairs(train, _folds(classes[train], sources[train], seed)), scored)]
    if 0 < (unnamed := int((parts == "").sum())) < len(parts):
        raise UserError(
            f"{unnamed} of {len(parts)} clips have no fold, the others have one: add the fold, or remove these clips"
        )
    if unnamed or len(set(parts.tolist())) < 2:
        parts = _folds(classes, sources, seed).astype(str)
    splits = []
    for fold in sorted(set(parts.tolist()), key=lambda name: (len(name), name)):
        train, test = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        others = parts[train]
        if len(set(others.tolist())) < 2:
            others = _folds(classes[train], sources[train], seed).astype(str)
        splits.append(Split(fold, train, _inner_pairs(train, others), test))
    return splits


def _inner_pairs(rows: Rows, folds: NDArray[np.generic]) -> tuple[tuple[Rows, Rows], ...]:
    """Return (other rows, rows of the fold) for each fold of these rows; nothing if there is only one fold."""
    names = np.unique(folds)
    return tuple((rows[folds != name], rows[folds == name]) for name in names) if len(names) > 1 else ()


def _folds(classes: NDArray[np.int64], recordings: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a fold for each row, from 1 to 5, the same for all rows of a recording. Shape (rows,)."""
    _, first, recording = np.unique(recordings, return_index=True, return_inverse=True)
    if len(first) < FOLDS:
        return _stratified_folds(classes, seed)
    return _stratified_folds(classes[first], seed)[recording]


def _stratified_folds(classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a fold for each row, from 1 to 5, with each class spread evenly. Shape (rows,)."""
    folds = np.empty(len(classes), dtype=np.int64)
    generator, assigned = np.random.default_rng(seed), 0
    for name in np.unique(classes):
        rows = generator.permutation(np.flatnonzero(classes == name))
        # Each class starts at the fold where the last one ended. Otherwise the first folds get all small classes.
        folds[rows] = (assigned + np.arange(len(rows))) % FOLDS + 1
        assigned += len(rows)
    return folds
