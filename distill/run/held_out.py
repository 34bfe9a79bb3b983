"""The division of clips into training, held-out and unused ones, by their splits and ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import split_name
from distill.data.clips.views import name_key
from distill.data.errors import UserError


@dataclass(frozen=True)
class Parting:
    """The clips of a data set, by their use in a run.

    Args:
        train: Clips on which the student is trained.
        held_out: Clips on which the loss is measured only.
        left_alone: Number of unused clips: those of a test split.
    """

    train: Manifest
    held_out: Manifest
    left_alone: int


def part_clips(manifest: Manifest, fold: str, share: float) -> Parting:
    """Divide the clips of a manifest into training and held-out clips.

    A test split is not used unless `fold` names it. The split or fold that `fold` names is held out. Otherwise it is
    the validation split of the data. Otherwise it is a share of the clips, chosen by a hash of the id.

    Args:
        manifest: All clips.
        fold: Name of a split, or number of a fold. Empty means none.
        share: Share of the clips to hold out if no split or fold is held out, from 0 to below 1.

    Raises:
        UserError: the data has no such fold, or no clip is left to train on.
    """
    named = split_name(fold)
    splits, names = manifest.splits, set(np.unique(manifest.splits).tolist())
    if named and named not in names:
        raise UserError(f"--fold {fold}: the data has {', '.join(sorted(names - {''})) or 'no folds'}")
    test = np.zeros(len(manifest), bool) if named == "test" else splits == "test"
    held_out_split = named or ("validation" if "validation" in names else "")
    if held_out_split:
        held_out = splits == held_out_split
    else:
        held_out = np.fromiter((hash_share(clip_id) < share for clip_id in manifest.ids), bool, len(manifest)) & ~test
    if not (trained := ~(held_out | test)).any():
        raise UserError(f"--validation {share} leaves none of {len(manifest)} clips to train on")
    train, watched = (manifest.take(np.flatnonzero(used)) for used in (trained, held_out))
    return Parting(train, watched, int(test.sum()))


def hash_share(clip_id: str) -> float:
    """Return a number in [0, 1) that depends on the id alone. So added clips do not change the use of others."""
    return name_key(clip_id) / 2**64
