"""The folds of a data set, and data of which no run for each fold can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.manifest import Manifest, Row
from distill.data.errors import UserError
from distill.run.folder import Run
from distill.run.folds import fold_run, folds_of, has_folds


def manifest(*clips: str) -> Manifest:
    """Clips written as "FOLD LABEL LABEL …"."""
    rows = []
    for number, (fold, *labels) in enumerate(clip.split(" ") for clip in clips):
        rows.append(Row(f"{number}", Path(f"{number}.wav"), labels=tuple(labels), split=fold))
    return Manifest(Path("x"), rows)


def test_folds_are_in_the_order_of_their_numbers() -> None:
    clips = [f"{fold} {label}" for fold in range(1, 12) for label in "ab"]
    assert folds_of(manifest(*clips)) == tuple(map(str, range(1, 12)))


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (("training a", "test b"), "--fold all: x has the parts test, training, not folds; omit --fold"),
        (("1 a", "2 a", "test b"), "x has the parts test, not folds"),
        ((" a", " b"), "x has no folds; a column `fold`"),
        (("1 a", "1 b"), "x has no folds"),
        (("1 a", "2 a", " a"), "1 of 3 clips have no fold"),
        (("1 a", "2 a", "2 b"), "all clips of the class 'b' are in the fold 2"),
        (("1 a b", "2 a", "2 c", "1 b"), "all clips of the class 'b' are in the fold 1"),
        (("1 a", "1 b", "2 a", "2 b", "3 a"), "the fold 3 has no clip of the class 'b'"),
    ],
)
def test_data_without_usable_folds_is_one_line(clips: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        folds_of(manifest(*clips))


def test_a_fold_of_clips_with_several_labels_may_lack_one() -> None:
    assert folds_of(manifest("1 a b", "2 b", "3 a b")) == ("1", "2", "3")


def test_each_fold_has_a_folder_below_that_of_all(tmp_path: Path) -> None:
    assert fold_run(tmp_path, "1").path == tmp_path / "fold_1"
    assert fold_run(tmp_path, "../a").path == tmp_path / "fold_..%2Fa"
    assert not has_folds(Run(tmp_path))
    (tmp_path / "config.yaml").write_text("fold: '1'\n")
    assert not has_folds(Run(tmp_path))
    (tmp_path / "config.yaml").write_text("fold: all\n")
    assert has_folds(Run(tmp_path))
