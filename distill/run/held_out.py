"""Which clips are trained on, held out, and left alone: decided by their splits and ids."""

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
        train: Clips that weights learn from.
        held_out: Clips whose loss is only measured.
        left_alone: Number of clips of a test split, which are neither.
    """

    train: Manifest
    held_out: Manifest
    left_alone: int


def part_clips(manifest: Manifest, fold: str, share: float) -> Parting:
    """Part the clips of a manifest.

    A test split is left alone unless `fold` names it. Held out is the split or fold that `fold` names; otherwise the
    data's own validation split; otherwise a share of the clips, chosen by a hash of the id.

    Args:
        manifest: All clips.
        fold: Name of a split, or number of a fold. Empty: none.
        share: Share of the clips that is held out, from 0 to below 1, where no split says which.

    Raises:
        UserError: the data has no such fold, or no clip is left to train on.
    """
    named = split_name(fold)
    splits = {row.split for row in manifest.rows}
    if named and named not in splits:
        raise UserError(f"--fold {fold}: the data has {', '.join(sorted(splits - {''})) or 'no folds'}")
    test = {row.id for row in manifest.rows if row.split == "test" != named}
    watched = named or ("validation" if "validation" in splits else "")
    if watched:
        held_out = {row.id for row in manifest.rows if row.split == watched}
    else:
        held_out = {row.id for row in manifest.rows if hash_share(row.id) < share} - test
    train = manifest.subset(row for row in manifest.rows if row.id not in held_out | test)
    if not train.rows:
        raise UserError(f"--validation {share} leaves none of {len(manifest)} clips to train on")
    return Parting(train, manifest.subset(row for row in manifest.rows if row.id in held_out), len(test))


def hash_share(clip_id: str) -> float:
    """Return a number in [0, 1) that depends on an id alone, so that added clips change no other clip's use."""
    return int.from_bytes(hashlib.sha256(clip_id.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
