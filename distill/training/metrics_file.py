"""The file metrics.csv of a run: measurements of training and of validation, one row each time."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.data.files import write_text

COLUMNS = ("batch", "epoch", "loss", "validation_loss", "learning_rate", "clips_per_second", "data_wait")
"""Columns that every run has. There is one more for each named loss and for each value that an objective observes."""

VALIDATION = "validation_"
"""Prefix of the columns that are measured on validation clips."""


class MetricsFile:
    """The rows of metrics.csv. A measurement with a new name adds a column to the whole file.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns = list(COLUMNS)

    def keep_until(self, batch: int) -> None:
        """Rewrite the file with all columns, without the rows after `batch`, counted from the start of the run."""
        kept: list[list[str]] = []
        if self.path.exists():
            with open(self.path, newline="") as file:
                header, *lines = [line for line in csv.reader(file) if line] or [[]]
            self._columns = list(dict.fromkeys([*header, *self._columns]))
            # A killed process may have left an incomplete line.
            kept = [line for line in lines if len(line) == len(header) and int(line[0]) <= batch]
        width = len(self._columns)
        rows = [self._columns, *(line + [""] * (width - len(line)) for line in kept)]
        write_text(self.path, "".join(",".join(row) + "\n" for row in rows))

    def append(self, batch: int, values: Mapping[str, str]) -> None:
        """Add a row with the values measured after `batch`, by column. Other columns stay empty."""
        row = {"batch": str(batch), **values}
        if new := [name for name in row if name not in self._columns]:
            self._columns += new
            self.keep_until(batch)
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self._columns, restval="").writerow(row)


def add_measured(measured: dict[str, list[float]], name: str, clips: int, value: float) -> None:
    """Add the value of a batch of `clips` to the sum over clips, and `clips` to their number, under its name."""
    sums = measured.setdefault(name, [0.0, 0.0])
    sums[0] += value * clips
    sums[1] += clips


def weighted_means(measured: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """Return the means of values over the clips of several processes, by name.

    Args:
        measured: For each process, the sum over its clips and the number of clips, by name.
    """
    names = dict.fromkeys(name for values in measured for name in values)
    sums = {name: [values[name] for values in measured if name in values] for name in names}
    return {name: sum(total for total, _ in pairs) / sum(clips for _, clips in pairs) for name, pairs in sums.items()}
