from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from distill.data.clips.split_folders import FolderSplits, find_splits

T, V, E = "training", "validation", "test"
# Clips of each folder; what is expected of some of them: split and label.
SPLITS: dict[str, tuple[Mapping[str, int], Mapping[str, tuple[str, str]]]] = {
    "above": (
        {"train/dog": 8, "train/cat": 8, "val/dog": 1, "test/cat": 2},
        {"train/dog": (T, "dog"), "val/dog": (V, "dog"), "test/cat": (E, "cat")},
    ),
    "below": (
        {"dog/train": 8, "cat/train": 8, "dog/val": 1, "cat/test": 2},
        {"dog/train": (T, "dog"), "cat/test": (E, "cat")},
    ),
    "below classes of several levels": (
        {"birds/robin/train": 8, "dog/train": 8, "dog/test": 1},
        {"birds/robin/train": (T, "birds/robin"), "dog/test": (E, "dog")},
    ),
    "below a common folder": ({"audio/Train/dog": 8, "audio/Test/dog": 2}, {"audio/Test/dog": (E, "audio/dog")}),
    "between": ({"dog/train/a": 8, "dog/test/b": 2, "cat/train/c": 3}, {"dog/test/b": (E, "dog/b")}),
    "without classes": ({"train": 8, "test": 2}, {"train": (T, "."), "test": (E, ".")}),
    "twice, as in nested archives": ({"train/train": 8, "test/test": 2}, {"test/test": (E, ".")}),
    "a class named like a split": ({"train/train": 8, "train/bus": 8, "test/train": 2}, {"test/train": (E, "train")}),
    "audio above and below the classes": ({"train": 1, "train/dog": 8, "test": 2}, {"train/dog": (T, "dog")}),
    "nearly all": ({"train/dog": 80, "test/dog": 17, "extra": 3, "": 1}, {"extra": ("", "extra"), "": ("", ".")}),
    "librispeech": (
        {"train-clean-100/19": 8, "train-other-500/20": 8, "dev-clean/21": 2, "test-other/22": 2},
        {"train-other-500/20": (T, "20"), "dev-clean/21": (V, "21"), "test-other/22": (E, "22")},
    ),
    "development and evaluation": ({"development/dog": 8, "evaluation/dog": 2}, {"development/dog": (T, "dog")}),
    "dev and test": ({"dev/dog": 8, "test/dog": 2}, {"dev/dog": (T, "dog"), "test/dog": (E, "dog")}),
    "words in longer names": ({"FSD50K.dev_audio": 8, "FSD50K.eval_audio": 2}, {"FSD50K.eval_audio": (E, ".")}),
    "folds": ({"fold1/dog": 2, "fold2/dog": 2, "Fold_03/cat": 2}, {"Fold_03/cat": ("3", "cat")}),
    "folds and a test part": ({"fold1": 2, "fold2": 2, "test": 2}, {"fold2": ("2", "."), "test": (E, ".")}),
    "none": ({"dog": 8, "cat": 2, "": 1}, {"dog": ("", "dog"), "": ("", ".")}),
}
CLASSES: dict[str, tuple[Mapping[str, int], str]] = {  # clips of each folder; the remark
    "a class of many": ({"dog": 8, "test": 8, "cat": 8}, "test: read as a class, since 16 of 24 clips lie elsewhere"),
    "a vehicle": ({"train": 8, "bus": 8, "car": 8}, "train: read as a class, since 16 of 24"),
    "two of many": ({"train": 8, "test": 8, "cat": 8}, "train, test: read as classes, since 8 of 24"),
    "no training": ({"val/dog": 8, "test/dog": 8}, "val, test: read as classes, since none is named like a training"),
    "levels that disagree": ({"train/val": 8, "test/train": 8}, "two levels of folders are named like splits"),
    "only one": ({"train/dog": 8, "train/cat": 8}, ""),
    "only test": ({"test": 8}, ""),
    "too much beside": ({"train/dog": 8, "test/dog": 8, "unlabelled": 2}, "train, test: read as classes, since 2"),
    "words in longer names of some": ({"train horn": 8, "driving test": 8, "dog": 8}, ""),
    "nothing": ({}, ""),
}  # fmt: skip
NAMES = {
    T: ("train", "Train", "TRAINING", "tr", "trn", "train_set", "training-set", "trainset", "audio_train", "train.1"),
    V: ("val", "valid", "Validation", "dev", "development", "val_set", "dev-other", "valset"),
    E: ("test", "Testing", "tst", "eval", "evaluation", "test_set", "testset", "tests", "vox1_test_wav"),
}


def found_in(folders: Mapping[str, int]) -> FolderSplits:
    return find_splits(tuple(folders), np.array(list(folders.values()), np.int64))


@pytest.mark.parametrize("case", SPLITS)
def test_folders_that_are_splits(case: str) -> None:
    folders, expected = SPLITS[case]
    found = found_in(folders)
    split_of = dict(zip(folders, found.splits, strict=True))
    for folder, (split, label) in expected.items():
        assert split_of[folder] == split
        assert found.labels.get(folder or ".", folder or ".") == label
    assert bool(found.remark) == (case != "none")


@pytest.mark.parametrize("case", CLASSES)
def test_folders_that_stay_classes(case: str) -> None:
    folders, remark = CLASSES[case]
    found = found_in(folders)
    assert set(found.splits) <= {""}
    assert found.labels == {}
    assert remark in found.remark if remark else found.remark == ""


@pytest.mark.parametrize(("split", "name"), [(split, name) for split, names in NAMES.items() for name in names])
def test_spellings(split: str, name: str) -> None:
    others = {T: "test", V: "train", E: "train"}
    folders = {name: 5, others[split]: 5}
    assert found_in(folders).splits[0] == split


@pytest.mark.parametrize("name", ["retrain", "terrain", "contest", "medieval", "devil", "value", "trance", "fold", "t"])
def test_words_that_only_look_like_splits(name: str) -> None:
    assert found_in({f"{name}/a": 50, "train/a": 50, "test/a": 50}).splits == ("", "", "")


def test_the_remark_names_the_folders_and_their_splits() -> None:
    assert found_in({"tr": 5, "dev": 5}).remark == "the splits are folders: tr (training), dev (validation)"
    many = {f"train_{number}": 5 for number in range(9)} | {"test": 5}
    assert found_in(many).remark.endswith("train_5 (training) and 4 more")
