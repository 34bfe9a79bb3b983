"""Tables of predictions: which classes become rows, and what each format holds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.parts import Member
from distill.data.clips.manifest import Row
from distill.data.errors import UserError
from distill.run.predictions import ALL, BEST, PRESENT, Choice, Place, PredictionTable, check_table

NAMES = ("a", "b", "c")
PLACES = [Place("x.wav", 0.0, 2.5), Place("x.wav", 2.5, 4.0), Place("y.wav", 0.0, 1.0)]
VALUES = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25]])


def batches() -> list[tuple[list[Place], np.ndarray]]:
    return [(PLACES[:2], VALUES[:2]), (PLACES[2:], VALUES[2:])]


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def written(path: Path, choice: Choice) -> PredictionTable:
    table = PredictionTable(path, NAMES, choice, (0.0, 8000.0))
    table.write(batches())
    return table


def test_the_most_probable_classes_or_those_above_their_threshold() -> None:
    thresholds = np.array([0.2, 0.3, 0.05])
    assert Choice(PRESENT, thresholds).columns(VALUES[0]) == [0, 2]
    assert Choice(PRESENT, thresholds).columns(np.array([0.1, 0.29, 0.0])) == []
    assert Choice(BEST, np.zeros(3), top=2).columns(VALUES[1]) == [2, 1]
    assert Choice(BEST, np.full(3, 0.5), top=2).columns(VALUES[1]) == [2]
    assert Choice(BEST, np.zeros(3), top=9).columns(VALUES[2]) == [1, 0, 2]


def test_a_row_for_each_chosen_class(tmp_path: Path) -> None:
    table = written(tmp_path / "new" / "t.csv", Choice(PRESENT, np.full(3, 0.2)))
    assert table.rows == 7
    rows = rows_of(table.path)
    assert list(rows[0]) == ["path", "start", "end", "class", "probability"]
    assert [(row["path"], row["start"], row["class"], row["probability"]) for row in rows[:3]] == [
        ("x.wav", "0", "a", "0.7"), ("x.wav", "0", "b", "0.2"), ("x.wav", "2.5", "c", "0.6"),
    ]  # fmt: skip


def test_a_column_for_each_class(tmp_path: Path) -> None:
    table = written(tmp_path / "t.csv", Choice(ALL, np.zeros(3)))
    rows = rows_of(table.path)
    assert list(rows[0]) == ["path", "start", "end", "a", "b", "c"]
    assert [[float(row[name]) for name in NAMES] for row in rows] == VALUES.tolist()


@pytest.mark.parametrize("scores", [BEST, ALL])
def test_parquet_holds_what_csv_holds(scores: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    choice = Choice(scores, np.full(3, 0.55 if scores == BEST else 0.0))  # the last batch has no row
    expected = rows_of(written(tmp_path / "t.csv", choice).path)
    found = parquet.read_table(written(tmp_path / "t.parquet", choice).path).to_pylist()
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, texts in zip(found, expected, strict=True):
        for name, value in row.items():
            assert value == texts[name] if isinstance(value, str) else value == pytest.approx(float(texts[name]))


def test_raven_counts_times_from_the_start_of_the_first_file(tmp_path: Path) -> None:
    for name, seconds in (("x.wav", 4.0), ("y.wav", 1.0)):
        soundfile.write(tmp_path / name, np.zeros(round(seconds * 8000)), 8000)
    places = [place._replace(path=str(tmp_path / place.path)) for place in PLACES]
    table = PredictionTable(tmp_path / "t.txt", NAMES, Choice(PRESENT, np.full(3, 0.4)), (0.0, 8000.0))
    table.write([(places[:1], VALUES[:1]), (places[1:], VALUES[1:])])
    rows = rows_of(table.path, "\t")
    assert [row["Selection"] for row in rows] == ["1", "2", "3"]
    assert [(row["Begin Time (s)"], row["End Time (s)"], row["File Offset (s)"]) for row in rows] == [
        ("0", "2.5", "0"), ("2.5", "4", "2.5"), ("4", "5", "0"),
    ]  # fmt: skip
    assert [row["Class"] for row in rows] == ["a", "c", "b"]
    assert {row["High Freq (Hz)"] for row in rows} == {"8000"}
    assert rows[2]["Begin Path"] == str(tmp_path / "y.wav")


def test_a_failure_leaves_the_earlier_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("earlier")

    def failing():  # type: ignore[no-untyped-def]
        yield PLACES[:1], VALUES[:1]
        raise UserError("no more")

    with pytest.raises(UserError):
        PredictionTable(path, NAMES, Choice(ALL, np.zeros(3))).write(failing())
    assert path.read_text() == "earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


def test_names_of_tables_are_checked(tmp_path: Path) -> None:
    for name in ("t.xlsx", "t"):
        with pytest.raises(UserError, match=r"must end in \.csv, \.parquet or \.txt"):
            check_table(tmp_path / name, BEST)
    with pytest.raises(UserError, match="Raven"):
        check_table(tmp_path / "t.txt", ALL)
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_table(tmp_path / "t.csv", BEST)


def test_the_place_of_a_clip_is_in_its_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(8000), 8000)
    row = Row("x.wav", tmp_path / "x.wav", 0.25)
    assert Place.of(row, f"{tmp_path}/") == Place("x.wav", 0.25, 1.0)
    assert Place.of(Row("x", tmp_path / "x.wav", 0.25, 0.5), "").path == str(tmp_path / "x.wav")
    inside = Row("s/x.wav", tmp_path / "t.tar", 0.0, 0.5, part=Member(0, 10))
    assert Place.of(inside, f"{tmp_path}/").path == "s/x.wav"
