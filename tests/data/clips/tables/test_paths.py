"""Names of files in the cells of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.data.clips.tables.paths import Names, audio_of


@pytest.mark.parametrize(
    ("cell", "path"),
    [
        ("a.wav", "a.wav"),
        (None, ""),
        (float("nan"), ""),
        (7, "7"),
        (b"caf\xe9", "caf\udce9"),
        ({"path": "a.wav"}, "a.wav"),
        ({"path": "a.wav", "bytes": None}, "a.wav"),
        ({"path": None}, ""),
        ({}, ""),
    ],
)
def test_the_path_in_a_cell(cell: Any, path: str) -> None:
    assert audio_of(cell) == path


@pytest.mark.parametrize("cell", [{"bytes": b"RIFF", "path": "a.wav"}, {"bytes": "x"}, ["a.wav"]])
def test_a_cell_that_holds_no_path_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="must be the path of a file"):
        audio_of(cell)


def test_the_first_column_with_a_name_is_read(tmp_path: Path) -> None:
    names = Names(tmp_path, "", ("path", "audio"), "", is_given=False)
    columns = {"path": ["a.wav", "", None, ""], "audio": ["x", "b.wav", {"path": "c.wav"}, {"bytes": b""}]}
    found, problems = names.read(columns, 4)
    assert found == ["a.wav", "b.wav", "c.wav", ""]
    assert list(problems) == [3]


def test_names_in_a_folder_below_the_root(tmp_path: Path) -> None:
    names = Names(tmp_path, "train/", ("path",), "", is_given=False)
    found, problems = names.read({"path": ["a.wav", "../b.wav", "../../c.wav", f"{tmp_path}/d.wav"]}, 4)
    assert found == ["train/a.wav", "train/../b.wav", "train/../../c.wav", f"{tmp_path}/d.wav"]
    assert list(problems) == [2]
    assert names.paths(found)[3] == f"{tmp_path}/d.wav"


@pytest.mark.parametrize("exists", [True, False])
def test_backslashes_are_slashes_unless_such_a_file_exists(exists: bool, tmp_path: Path) -> None:
    if exists:
        (tmp_path / "b\\x.wav").touch()
    names = Names(tmp_path, "", ("path",), "", is_given=False)
    found, problems = names.read({"path": ["a.wav", "b\\x.wav", "..\\..\\y.wav"]}, 3)
    assert found[1] == ("b\\x.wav" if exists else "b/x.wav")
    assert list(problems) == ([] if exists else [2])
    assert any("backslashes" in remark for remark in names.remarks()) != exists
