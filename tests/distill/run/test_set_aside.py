"""The list of clips that could not be used."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.summary import Notes
from distill.data.store.format import SetAside
from distill.run.set_aside import report_set_aside

ROWS = [Row(name, Path("data") / name) for name in ("a.wav", "b.wav", "caf\udce9.wav", "d.wav")]


def test_clips_are_counted_by_reason_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = [SetAside("b.wav", "malformed", "no header"), SetAside("caf\udce9.wav", "empty", "0 s"),
             SetAside("gone", "malformed", "not a clip of the data")]  # fmt: skip
    assert report_set_aside(clips, Manifest(Path("data"), ROWS), tmp_path / "list.csv") == 2
    line = f"2 of 4 clips could not be used (1 malformed, 1 empty); they are listed in {tmp_path / 'list.csv'}\n"
    assert capsys.readouterr().out == line
    with open(tmp_path / "list.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "path", "reason", "detail"]
    assert [row[2:] for row in rows[1:]] == [[clip.reason, clip.detail] for clip in clips[:2]]
    assert rows[1][:2] == ["b.wav", "data/b.wav"]
    assert "\udce9" not in "".join(rows[2])  # it cannot be written as UTF-8


@pytest.mark.parametrize("clips", [[], [SetAside("of other data", "malformed", "")]])
def test_without_such_clips_nothing_is_written(
    clips: list[SetAside], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("of an earlier run")
    assert report_set_aside(clips, Manifest(Path("data"), ROWS), tmp_path / "list.csv") == 0
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out


def test_what_the_reader_of_the_data_set_aside_is_listed_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = Notes(set_aside=(SetAside("e.m4a", "unsupported_format", "run: ffmpeg"),))
    report_set_aside([SetAside("b.wav", "malformed", "")], Manifest(Path("data"), ROWS, notes), tmp_path / "list.csv")
    assert "2 of 5 clips could not be used (1 unsupported_format, 1 malformed)" in capsys.readouterr().out
    with open(tmp_path / "list.csv", newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["id", "e.m4a", "b.wav"]
