"""Which clips are trained on, held out, and left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.run.held_out import hash_share, part_clips


def manifest(*splits: str) -> Manifest:
    return Manifest(Path("x"), tuple(Row(f"{n}", Path(f"{n}.wav"), split=split) for n, split in enumerate(splits)))


def ids(clips: Manifest) -> str:
    return "".join(row.id for row in clips.rows)


@pytest.mark.parametrize(
    ("fold", "train", "held_out", "left_alone"),
    [("", "01", "2", 2), ("validation", "01", "2", 2), ("train", "2", "01", 2), ("test", "012", "34", 0)],
)
def test_splits(fold: str, train: str, held_out: str, left_alone: int) -> None:
    parting = part_clips(manifest("training", "training", "validation", "test", "test"), fold, 0.5)
    assert (ids(parting.train), ids(parting.held_out), parting.left_alone) == (train, held_out, left_alone)


def test_folds() -> None:
    parting = part_clips(manifest("1", "2", "3", "1"), "1", 0.0)
    assert (ids(parting.train), ids(parting.held_out)) == ("12", "03")
    with pytest.raises(UserError, match="--fold 4: the data has 1, 2, 3"):
        part_clips(manifest("1", "2", "3", "1"), "4", 0.0)


def test_a_share_is_chosen_by_a_hash_of_the_id_alone() -> None:
    clips = manifest(*[""] * 400)
    parting = part_clips(clips, "", 0.25)
    assert {row.id for row in parting.held_out.rows} == {row.id for row in clips.rows if hash_share(row.id) < 0.25}
    assert 70 <= len(parting.held_out) <= 130
    fewer = part_clips(clips.subset(clips.rows[::2]), "", 0.25)
    assert {row.id for row in fewer.held_out.rows} <= {row.id for row in parting.held_out.rows}
    assert hash_share("a.wav") == pytest.approx(0.7351191772068577)  # for ever, so that older runs resume


def test_nothing_left_to_train_on() -> None:
    with pytest.raises(UserError, match="leaves none of 2 clips"):
        part_clips(manifest("test", "test"), "", 0.1)
