"""Splits that never leak."""

from __future__ import annotations

import numpy as np
import pytest

from distill.data.errors import UserError
from distill.evaluation.splits import splits_of

PARTS = {
    "folds": [str(i % 4) for i in range(40)],
    "none": [""] * 40,
    "lists": ["training"] * 20 + ["validation"] * 10 + ["test"] * 10,
    "no validation": ["training"] * 30 + ["test"] * 10,
    "no test": ["training"] * 30 + ["validation"] * 10,
    "two folds": ["a", "b"] * 20,
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_what_is_scored_is_neither_learned_from_nor_chosen_on(parts: list[str]) -> None:
    classes = np.arange(40) // 4 % 4
    splits = splits_of(parts, classes)
    scored = np.concatenate([split.test for split in splits])
    assert len(set(scored.tolist())) == len(scored)
    for split in splits:
        assert split.inner
        for train, held_out in split.inner:
            rows = [set(part.tolist()) for part in (train, held_out, split.test)]
            assert not rows[0] & rows[1]
            assert not (rows[0] | rows[1]) & rows[2]
            assert len(set(classes[train].tolist())) == 4  # made folds are stratified
        assert not set(split.train.tolist()) & set(split.test.tolist())


def test_named_validation_is_not_learned_from() -> None:
    (split,) = splits_of(PARTS["lists"], np.zeros(40, dtype=np.int64))
    assert split.train.tolist() == list(range(20))
    assert split.inner[0][1].tolist() == list(range(20, 30))


def test_a_validation_part_alone_is_scored_and_never_learned_from() -> None:
    (split,) = splits_of(PARTS["no test"], np.zeros(40, dtype=np.int64))
    assert split.name == "validation"
    assert split.test.tolist() == list(range(30, 40))


def test_folds_that_some_clips_lack_are_refused() -> None:
    classes = np.arange(20) % 2
    with pytest.raises(UserError, match="1 of 20 clips have no fold"):
        splits_of([*"12345" * 3, *"1234", ""], classes)


def test_made_folds_do_not_divide_a_recording() -> None:
    recordings = np.arange(60) // 4
    classes = (recordings % 3).astype(np.int64)
    for split in splits_of([""] * 60, classes, recordings=recordings):
        assert not set(recordings[split.train]) & set(recordings[split.test])
        assert np.bincount(classes[split.test], minlength=3).tolist() == [4, 4, 4]
        for train, chosen in split.inner:
            assert not set(recordings[train]) & set(recordings[chosen])
    few = splits_of([""] * 60, classes, recordings=recordings // 5)
    assert len(few) == 5
    assert [len(split.test) for split in few] == [12] * 5
