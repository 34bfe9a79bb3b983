"""The lists of `distill list`."""

from __future__ import annotations

from pathlib import Path

import pytest

import distill
from distill.commands.listing import teacher_table
from tests.distill.cli.test_shell import run


def test_every_listed_teacher_has_a_licence_and_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    run("list", "teachers")
    printed = capsys.readouterr().out
    for name in distill.list_teachers():
        assert f"  {name} " in printed
    assert "not stated" not in printed
    assert "M2D" in printed


def test_the_readme_has_the_table_of_teachers() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert teacher_table() in readme, "put the output of `distill list teachers --markdown` into README.md"
