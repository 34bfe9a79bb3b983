"""The runs of all folds of a data set, each in a folder of its own below one folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from urllib.parse import quote

import numpy as np

from distill.data.clips.manifest import Manifest
from distill.data.errors import UserError
from distill.run.folder import Run

ALL_FOLDS = "all"
"""Value of `fold` that stands for each fold of the data in turn."""

_PARTS = {"training", "validation", "test"}


def folds_of(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the folds of labelled clips, in their order.

    Raises:
        UserError: the data has no folds but parts, or none at all; a clip has no fold; a class has clips in one fold
            only; or each clip has one label, and a fold has no clip of a class.
    """
    names = set(np.unique(manifest.splits).tolist()) - {""}
    start = f"--fold {ALL_FOLDS}: {manifest.source}"
    if parts := sorted(names & _PARTS):
        raise UserError(f"{start} has the parts {', '.join(parts)}, not folds; omit --fold")
    if len(names) < 2:
        raise UserError(f"{start} has no folds; a column `fold` or --split COLUMN names the fold of each clip")
    if unnamed := int((manifest.splits == "").sum()):
        raise UserError(
            f"{start}: {unnamed} of {len(manifest)} clips have no fold; add the fold, or remove these clips"
        )
    folds = tuple(sorted(names, key=lambda name: (len(name), name)))
    _check_classes(manifest, folds, start)
    return folds


def _check_classes(manifest: Manifest, folds: tuple[str, ...], start: str) -> None:
    """Raise UserError for a class that a run could not learn, or that is not in every fold of clips with one label."""
    pairs = Counter((label, row.split) for row in manifest.rows for label in row.labels)
    single = all(len(row.labels) == 1 and not row.annotated for row in manifest.rows)
    for label in manifest.classes:
        lacking = [fold for fold in folds if (label, fold) not in pairs]
        if len(lacking) == len(folds) - 1:
            only = next(fold for fold in folds if fold not in lacking)
            raise UserError(f"{start}: all clips of the class {label!r} are in the fold {only}, so no other teaches it")
        if single and lacking:
            raise UserError(
                f"{start}: the fold {lacking[0]} has no clip of the class {label!r}; divide the clips again, or name "
                "one fold, such as --fold " + folds[0]
            )


def fold_run(folder: Path, fold: str) -> Run:
    """Return the run that holds out a fold.

    Args:
        folder: Folder of the runs of all folds.
        fold: Name of the fold.
    """
    return Run(folder / f"fold_{quote(fold, safe='')}")


def has_folds(run: Run) -> bool:
    """Return whether a folder is that of the runs of all folds."""
    return (run.path / "config.yaml").is_file() and run.config.get("fold") == ALL_FOLDS
