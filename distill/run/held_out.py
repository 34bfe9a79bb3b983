"""The division of clips into training, held-out and unused ones, by their splits and ids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from distill.data.clips.manifest import Manifest
from distill.data.clips.tables import split_name
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
    splits = {row.split for row in manifest.rows}
    if named and named not in splits:
        raise UserError(f"--fold {fold}: the data has {', '.join(sorted(splits - {''})) or 'no folds'}")
    test = {row.id for row in manifest.rows if row.split == "test" != named}
    held_out_split = named or ("validation" if "validation" in splits else "")
    if held_out_split:
        held_out = {row.id for row in manifest.rows if row.split == held_out_split}
    else:
        held_out = {row.id for row in manifest.rows if hash_share(row.id) < share} - test
    train = manifest.subset(row for row in manifest.rows if row.id not in held_out | test)
    if not train.rows:
        raise UserError(f"--validation {share} leaves none of {len(manifest)} clips to train on")
    return Parting(train, manifest.subset(row for row in manifest.rows if row.id in held_out), len(test))


def hash_share(clip_id: str) -> float:
    """Return a number in [0, 1) that depends on the id alone. So added clips do not change the use of others."""
    return int.from_bytes(hashlib.sha256(clip_id.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
