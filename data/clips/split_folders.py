"""Find folders that are splits and not classes: `train/dog/1.wav`, `dog/train/1.wav` or `fold1/dog/1.wav`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from distill.data.clips.tables import split_name

_LEVELS = (0, 1, 2, 3, -1)  # places in the path of a folder where splits are looked for
_MIN_SHARE = 0.95  # share of the audio that must lie in folders that are named like splits
_DEVELOPMENT = "development"  # means training or validation, by the other folders
_FOLD = re.compile(r"fold[ _-]?0*(\d+)")
_MAX_NAMES = 6  # names in the remark


@dataclass(frozen=True)
class FolderSplits:
    """The splits of folders.

    Args:
        splits: Split of each folder, "" without one.
        labels: Label of the audio in a folder, where it is not the path of the folder.
        remark: The choice in words. Empty if there was none.
    """

    splits: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""


def find_splits(folders: Sequence[str], counts: NDArray[np.int64]) -> FolderSplits:
    """Find the levels of the path at which folders are splits.

    The folders of one level are splits if nearly all audio lies below folders that are named like splits, and one of
    them holds training clips. All numbered folds are splits too. Two levels that agree are both splits. Otherwise the
    folders stay classes, and a remark says so.

    Args:
        folders: Path of each folder with audio, relative to the root; "" for the root.
        counts: Number of audio files in each folder. Shape (folders,).
    """
    parts = [tuple(filter(None, folder.split("/"))) for folder in folders]
    levels = {level: found for level in _LEVELS if (found := _splits_at(parts, counts, level))}
    if not levels:
        return FolderSplits(("",) * len(folders), remark=_doubt(parts, counts))
    named = [{found.get(_name_at(path, level), "") for level, found in levels.items()} - {""} for path in parts]
    if any(len(splits) > 1 for splits in named):
        names = list(dict.fromkeys(name for found in levels.values() for name in found))
        remark = f"{_some(names)}: read as classes, since two levels of folders are named like splits and disagree"
        return FolderSplits(("",) * len(folders), remark=remark)
    labels = {folder: _label(path, levels) for folder, path in zip(folders, parts, strict=True)}
    meanings = dict.fromkeys(f"{name} ({split})" for found in levels.values() for name, split in found.items())
    return FolderSplits(
        tuple("".join(splits) for splits in named),
        {folder or ".": label for folder, label in labels.items() if label != (folder or ".")},
        f"the splits are folders: {_some(list(meanings))}",
    )


def _splits_at(parts: Sequence[tuple[str, ...]], counts: NDArray[np.int64], level: int) -> dict[str, str]:
    """Return the split of each folder name at a level of the path. Empty: the names of this level are no splits."""
    at_level = [_name_at(path, level) for path in parts]
    splits = {name: split for name in dict.fromkeys(at_level) if (split := _split_in(name))}
    # Sets of two parts call their training part "development", as those of DCASE, VoxCeleb and FSD50K do.
    development = "validation" if "training" in splits.values() else "training"
    splits = {name: development if split == _DEVELOPMENT else split for name, split in splits.items()}
    found = set(splits.values())
    if len(found) < 2 or found <= {"validation", "test"}:
        return {}
    inside = counts[[name in splits for name in at_level]].sum()
    return splits if inside >= _MIN_SHARE * counts.sum() else {}


def _name_at(path: tuple[str, ...], level: int) -> str:
    """Return the folder at a level of a path. Empty: the path is shorter."""
    return path[level] if -len(path) <= level < len(path) else ""


def _split_in(name: str) -> str:
    """Return the split that a folder's name means, or the number of a fold. Empty: neither.

    A name such as "dev-clean" or "FSD50K.eval_audio" means the split that one of its words means.
    """
    if fold := _FOLD.fullmatch(name.lower()):
        return fold[1]
    if split := _exact(name):
        return split
    words = {split for word in re.split(r"[^a-z]+", name.lower()) if len(word) > 2 and (split := _exact(word))}
    return words.pop() if len(words) == 1 else ""


def _exact(name: str) -> str:
    if name.lower() in ("dev", _DEVELOPMENT):
        return _DEVELOPMENT
    split = split_name(name)
    return split if split in ("training", "validation", "test") else ""


def _label(path: tuple[str, ...], levels: Mapping[int, Mapping[str, str]]) -> str:
    """Return the path of a folder without the folders that are splits."""
    drop = {level % len(path) for level, found in levels.items() if _name_at(path, level) in found}
    return "/".join(name for number, name in enumerate(path) if number not in drop) or "."


def _doubt(parts: Sequence[tuple[str, ...]], counts: NDArray[np.int64]) -> str:
    """Return a remark on folders that are named like splits and are read as classes. Empty: there are none."""
    for level in _LEVELS:
        at_level = [_name_at(path, level) for path in parts]
        exact = [name for name in dict.fromkeys(at_level) if _exact(name)]
        outside = int(counts[[name not in exact for name in at_level]].sum())
        if exact and outside:
            classes = "a class" if len(exact) == 1 else "classes"
            return f"{_some(exact)}: read as {classes}, since {outside:,} of {counts.sum():,} clips lie elsewhere"
        if len(exact) > 1:
            return f"{_some(exact)}: read as classes, since none is named like a training split"
    return ""


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(name[:40] for name in names[:_MAX_NAMES]) + more
