"""AudioSet's 527 classes (Gemmeke et al. 2017; the list is CC BY 4.0), and the common order of logits."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from torch import Tensor


@cache
def classes() -> dict[str, str]:
    """Return the display name of each class by its `mid`, in the order of class_labels_indices.csv."""
    with open(Path(__file__).with_name("audioset_classes.csv"), newline="", encoding="utf-8") as file:
        return {row["mid"]: row["display_name"] for row in csv.DictReader(file)}


def in_mid_order(labels: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """Return labels in ascending order of `mid`, and the columns of the logits in this order.

    Checkpoints use three orders (that of the csv, the sorted one, and BEATs' own), so the logits of two teachers can
    only be averaged in a common order. Labels that are not mids keep their order.

    Args:
        labels: Label of each column of a checkpoint's logits: mids, or other names.

    Returns:
        The labels, and an index (classes,), int64, such that `logits[:, index]` matches them.
    """
    order = list(range(len(labels)))
    if len(labels) == len(classes()) and set(labels) != classes().keys():
        warnings.warn(
            f"{len(labels)} classes as in AudioSet, but other labels, {labels[0]!r} first: their order is kept and "
            "does not match other teachers",
            stacklevel=2,
        )
    if all(label.startswith(("/m/", "/t/", "/g/")) for label in labels):
        order.sort(key=lambda column: labels[column])
    return tuple(labels[column] for column in order), torch.tensor(order, dtype=torch.long)


def columns_of(head: int) -> tuple[tuple[str, ...], Tensor]:
    """Return the labels and the index of a head without labels, as `in_mid_order` does.

    Args:
        head: Number of its columns. 527 columns are in the order of class_labels_indices.csv; others are numbered.
    """
    names = list(classes()) if head == len(classes()) else [str(column) for column in range(head)]
    return in_mid_order(names)
