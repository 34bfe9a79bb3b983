"""The file metrics.csv: its columns grow, and a resumed run has no rows of batches that it repeats."""

from __future__ import annotations

import csv
from pathlib import Path

from distill.training.metrics_file import COLUMNS, MetricsFile


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows without their empty cells."""
    with open(path, newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_a_new_measurement_adds_a_column_to_all_rows(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.keep_until(0)
    metrics.append(1, {"loss": "0.5"})
    metrics.append(2, {"loss": "0.4", "accuracy": "0.9"})
    metrics.append(3, {"loss": "0.3"})
    assert rows(metrics.path) == [
        {"batch": "1", "loss": "0.5"},
        {"batch": "2", "loss": "0.4", "accuracy": "0.9"},
        {"batch": "3", "loss": "0.3"},
    ]
    assert metrics.path.read_text().splitlines()[0] == ",".join((*COLUMNS, "accuracy"))


def test_rows_after_the_checkpoint_and_incomplete_lines_are_removed(tmp_path: Path) -> None:
    first = MetricsFile(tmp_path / "metrics.csv")
    first.keep_until(0)
    for batch in (10, 20, 30):
        first.append(batch, {"accuracy": "0.9"})
    with open(first.path, "a") as file:
        file.write("40,0.1")  # the process was killed
    resumed = MetricsFile(first.path)
    resumed.keep_until(20)
    resumed.append(25, {"loss": "0.2"})
    assert [row["batch"] for row in rows(first.path)] == ["10", "20", "25"]
    assert rows(first.path)[0]["accuracy"] == "0.9"
