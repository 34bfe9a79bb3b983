"""Files that are whole or absent, locks, and plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill.data.errors import UserError
from distill.data.files import as_settings, finite, lock, plain, write_atomically, write_json


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with (
        lock(tmp_path, "distill embed"),
        pytest.raises(UserError, match=r"distill embed.*process"),
        lock(tmp_path, "x"),
    ):
        pass
    with lock(tmp_path, "x"):
        pass


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["ü.wav", "caf\udce9.wav", "日本\udcff"])
def test_a_name_is_read_back_from_json_as_it_was(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {name: [name]})
    content = (tmp_path / "x.json").read_text("utf-8")
    assert json.loads(content) == {name: [name]}
    assert (name in content) == name.isprintable()  # names that are UTF-8 stay readable


@dataclass(frozen=True)
class Settings:
    size: int = 1
    path: Path = Path("a")

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size {self.size}")


def test_plain_values_are_those_that_json_holds() -> None:
    value = {1: Settings(2), "list": [None, True, 1.5, ("x", Path("b/c"))], "set": {3}}
    assert plain(value) == {
        "1": {"size": 2, "path": "a"}, "list": [None, True, 1.5, ["x", "b/c"]], "set": [3]
    }  # fmt: skip
    for wrong in (object(), [object()], Settings):
        with pytest.raises(TypeError, match=r"object|type"):
            plain(wrong)


def test_settings_are_built_from_a_mapping_and_left_alone_otherwise() -> None:
    settings = Settings(2)
    assert as_settings(Settings, settings) is settings
    assert as_settings(Settings, {"size": 2}) == settings
    assert as_settings(Settings, None) == Settings()
    for wrong, message in (({"sise": 2}, "settings: .*sise"), ({"size": -1}, "settings: size -1")):
        with pytest.raises(UserError, match=message):
            as_settings(Settings, wrong)


def test_numbers_that_json_does_not_have_become_null() -> None:
    value = {"a": float("nan"), "b": (1.5, [float("inf"), "nan"]), "c": None, "d": 3}
    assert finite(value) == {"a": None, "b": [1.5, [None, "nan"]], "c": None, "d": 3}
