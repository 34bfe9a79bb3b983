"""The example of docs/own_parts.md is a whole file of less than 45 lines, and runs as it stands."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.cli.shell import main

PAGE = (Path(__file__).parents[1] / "docs" / "own_parts.md").read_text()


def example() -> str:
    code = re.search(r"```python\n(# my_teacher\.py\n.*?)```", PAGE, re.S)
    assert code
    return code[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_teacher.py").write_text(example())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_teacher_needs_less_than_45_lines() -> None:
    assert len(example().splitlines()) < 45


def test_the_file_checks_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path("my_teacher.py", run_name="__main__")
    assert capsys.readouterr().out == "fulfils the contract\n"


def test_the_command_of_the_page_takes_it(folder: Path, sounds: Callable[[int], Path]) -> None:
    runpy.run_path("my_teacher.py", run_name="__main__")
    words = re.search(r"distill fit (--teacher my_teacher\.Scenes --teacher\.checkpoint \S+) --data", PAGE)
    assert words
    student = ["--student", "mobilenet_v3", "--student.width", "0.1", "--max_steps", "1"]
    main(["fit", *words[1].split(), *student, "--data", str(sounds(6)), "--out", "run"])
    card = (folder / "run" / "student" / "README.md").read_text()
    assert "my_teacher.Scenes" in card
    assert "trained on my scenes" in card
