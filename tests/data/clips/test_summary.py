"""The line that says what was understood."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.summary import Notes, summary_of
from distill.data.store.format import SetAside

WINDOW = Row("a.wav@1", Path("a.wav"), 1.0, 1800.0, ("dog",), "test")
WHOLE = Row("b.wav", Path("b.wav"), labels=("cat",))


@pytest.mark.parametrize(
    ("rows", "notes", "line"),
    [
        ([WHOLE], Notes(), "data: clips x: 1 clips, 1 classes, no splits"),
        ([WINDOW] * 4, Notes("table"), "data: table x: 4 clips, 2.0 hours, 1 classes, splits: test 4"),
        (
            [replace(WINDOW, duration=1089.4)],
            Notes("table"),
            "data: table x: 1 clips, 1,089 seconds, 1 classes, splits: test 1",
        ),
        ([WINDOW, WHOLE], Notes("table"), "data: table x: 2 clips, 2 classes, splits: test 1"),
        (
            [replace(WHOLE, domain=name) for name in ("song", "", "rain", "song")],
            Notes("table"),
            "data: table x: 4 clips, 1 classes, no splits, domains: rain 1, song 2",
        ),
        (
            [Row("c", Path("c"), 0.0, 2.5)],
            Notes("table", labels="no column of labels"),
            "data: table x: 1 clips, 2.5 seconds, no labels (no column of labels), no splits",
        ),
        (
            [WHOLE],
            Notes(
                "esc50",
                left_out={"listed clips have no file": 1200, "never": 0},
                set_aside=(SetAside("a", "outside", ""), SetAside("b", "outside", "")),
                unread_columns=("take\nn", *map(str, range(20))),
                remarks=("labels are separated by ';'",),
            ),
            "data: esc50 x: 1 clips, 1 classes, no splits; left out: 1,200 listed clips have no file, 2 outside; "
            "columns not read: take\\nn, 0, 1, 2, 3, 4, 5, 6 and 13 more; labels are separated by ';'",
        ),
    ],
)
def test_one_line_says_what_was_understood(rows: list[Row], notes: Notes, line: str) -> None:
    assert summary_of(Manifest(Path("x"), rows, notes)) == line


def test_folder_names_that_become_labels_are_said() -> None:
    folder = Manifest(Path("x"), [Row("a/1.wav", Path("1"))], Notes("folder"))
    assert "no labels" in summary_of(folder)
    assert "1 classes (the names of the folders)" in summary_of(folder.labelled())
