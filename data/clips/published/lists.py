"""Find the lists of a published data set: the files that state its clips, labels and splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from distill.data.errors import UserError

_FOLDERS = ("metadata", "meta", "csv", "lists", "annotations", "labels")  # that people put lists into
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "meta/esc50.csv": ("esc50.csv",),  # as on Kaggle
    "metadata/UrbanSound8K.csv": ("UrbanSound8K.csv",),  # as on Kaggle
    # GTZAN has no lists. Kaggle's copy has another folder, and some copies have none.
    "genres/blues": ("genres_original/blues", "Data/genres_original/blues", "blues/blues.000??.*"),
    "genres/jazz": ("genres_original/jazz", "Data/genres_original/jazz", "jazz/jazz.000??.*"),
    **{
        f"FSD50K.ground_truth/{table}.csv": (
            f"ground_truth/{table}.csv",
            f"FSD50K.ground_truth/FSD50K.ground_truth/{table}.csv",  # each archive unpacked into a folder of its name
            f"labels/{table}.csv",  # as on the Hugging Face hub
        )
        for table in ("dev", "eval", "vocabulary")
    },
    **{
        f"nsynth-{part}/examples.json": (
            f"nsynth-{part}.jsonwav/nsynth-{part}/examples.json",
            f"nsynth-{part}.jsonwav/examples.json",
        )
        for part in ("train", "valid", "test")
    },
}
"""Other places of a list, by the place where it is published. "?" and "*" stand for any characters of a name."""


def places_of(mark: str) -> tuple[str, ...]:
    """Return the places where a list may lie, relative to the root; the published one is the first."""
    others = tuple(f"{folder}/{mark}" for folder in _FOLDERS) if "/" not in mark and "." in mark else ()
    return (mark, *_ELSEWHERE.get(mark, ()), *others)


def find_mark(root: Path, mark: str) -> Path | None:
    """Return a list or folder that identifies a data set. None if the root does not have it."""
    for place in places_of(mark):
        found = next(root.glob(place), None) if "*" in place else root / place
        if found is not None and found.exists():
            return found
    return None


class Lists:
    """The lists of a copy of a data set.

    Args:
        root: Folder of the copy.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, mark: str) -> Path:
        """Return the path of a list, which is named by its published place. Raises UserError if it is missing."""
        if (found := find_mark(self.root, mark)) is None:
            raise UserError(f"--data {self.root}: {mark} is missing")
        return found

    def text(self, mark: str) -> str:
        """Return the text of a list."""
        return self.path(mark).read_text(encoding="utf-8-sig", errors="surrogateescape")

    def records(self, mark: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
        """Yield the records of a table with a header."""
        with open(self.path(mark), newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from csv.DictReader(file, delimiter=delimiter)
