"""Which clips are learned from, which choose hyper-parameters, and which are scored: never the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.data.errors import UserError

Rows = NDArray[np.int64]
_MADE = 5  # folds, where the data has none


class Split(NamedTuple):
    """One measurement.

    Args:
        name: Of the part that is scored.
        train: Rows to learn from.
        inner: Rows to learn from and rows to choose hyper-parameters on, one pair or more; never a row of `test`.
        test: Rows to score.
    """

    name: str
    train: Rows
    inner: tuple[tuple[Rows, Rows], ...]
    test: Rows


def splits_of(names: Sequence[str], classes: NDArray[np.int64], seed: int = 0) -> list[Split]:
    """The measurements that a data set asks for.

    With a part "test" there is one; hyper-parameters are chosen on the part "validation" where there is one, which is
    never learned from. A "validation" without a "test" is scored itself, and folds of the rest choose. With folds each
    is scored in turn, and the others choose in turn. Without either, five folds are made.

    Args:
        names: Part of each clip: "training", "validation", "test", the number of a fold, or "".
        classes: A class of each clip, by which made folds are stratified. Shape (clips,).
        seed: Of made folds.

    Raises:
        UserError: some clips have a fold, and others none.
    """
    parts = np.array(names)
    test, watched = np.flatnonzero(parts == "test"), np.flatnonzero(parts == "validation")
    train = np.flatnonzero((parts != "test") & (parts != "validation"))
    if len(test) and len(watched):
        return [Split("test", train, ((train, watched),), test)]
    if len(test) or len(watched):
        name, scored = ("test", test) if len(test) else ("validation", watched)
        return [Split(name, train, _turns(train, _made(classes[train], seed)), scored)]
    if 0 < (unnamed := int((parts == "").sum())) < len(parts):
        raise UserError(
            f"{unnamed} of {len(parts)} clips have no fold, the others have one: name it, or leave them out"
        )
    if unnamed or len(set(parts.tolist())) < 2:
        parts = _made(classes, seed).astype(str)
    splits = []
    for fold in sorted(set(parts.tolist()), key=lambda name: (len(name), name)):
        train, test = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        others = parts[train]
        if len(set(others.tolist())) < 2:
            others = _made(classes[train], seed).astype(str)
        splits.append(Split(fold, train, _turns(train, others), test))
    return splits


def _turns(rows: Rows, folds: NDArray[np.generic]) -> tuple[tuple[Rows, Rows], ...]:
    """Each fold of some rows in turn, beside the rest; none where there is one fold only."""
    names = np.unique(folds)
    return tuple((rows[folds != name], rows[folds == name]) for name in names) if len(names) > 1 else ()


def _made(classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A fold for each row, 1 to 5, with the classes spread evenly. Shape (rows,)."""
    folds = np.empty(len(classes), dtype=np.int64)
    generator, dealt = np.random.default_rng(seed), 0
    for name in np.unique(classes):
        rows = generator.permutation(np.flatnonzero(classes == name))
        # The next class goes on where this one ended, or small classes would all lie in the first folds.
        folds[rows] = (dealt + np.arange(len(rows))) % _MADE + 1
        dealt += len(rows)
    return folds
