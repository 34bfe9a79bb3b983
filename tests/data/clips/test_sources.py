from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distill.data.clips.sources import Data, read_manifest
from distill.data.errors import UserError
from tests.data.clips.written import table


def test_a_folder_is_read_recursively_in_order(sounds: Callable[..., Path]) -> None:
    folder = sounds(4)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.wav").touch()
    (folder / "notes.txt").touch()
    (folder / "class0" / "up").symlink_to(folder)
    ids = [row.id for row in read_manifest(folder).rows]
    assert ids == ["class0/000.wav", "class0/002.wav", "class1/001.wav", "class1/003.wav"]


def test_the_esc50_layout_is_known(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    table(tmp_path / "meta", "filename,fold,target,category\n1-1-A-0.wav,1,0,dog\n", "esc50.csv")
    row = read_manifest(tmp_path).rows[0]
    assert (row.path, row.labels, row.split) == (tmp_path / "audio" / "1-1-A-0.wav", ("dog",), "1")


def test_a_folder_without_audio_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no audio"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        read_manifest(tmp_path / "none")


def test_data_are_one_value_whose_parts_an_option_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    data = Data.of(Path("~/t.csv"), "~/audio", "species")
    assert data == Data("/home/me/t.csv", "/home/me/audio", "species", "")
    assert Data.of(data) == data
    assert Data.of(data, split="fold") == Data("/home/me/t.csv", "/home/me/audio", "species", "fold")
    assert Data(**{"path" if name == "data" else name: text for name, text in data.as_options().items()}) == data


def test_a_task_is_refused_for_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be auto for a file"):
        read_manifest(table(tmp_path, "path\na.wav\n"), "esc50")
