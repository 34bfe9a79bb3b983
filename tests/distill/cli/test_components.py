"""Names of components as import paths."""

from __future__ import annotations

import os
import sys

import pytest

from distill.cli.components import components_of, default_components, import_path, resolve
from distill.cli.words import Option, parse_words
from distill.data.errors import UserError

AST, EMBEDDING = "distill.teachers.ast.AST", "distill.objectives.embedding.EmbeddingDistillation"


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test change the path of modules."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("name", ["--teacher", "--teacher+", "--teacher.help"])
def test_the_name_of_a_component_becomes_its_import_path(name: str) -> None:
    assert resolve([Option(name, "ast")]).options == [Option(name, AST)]


@pytest.mark.parametrize("option", [Option("--teacher.checkpoint", "ast"), Option("--data", "ast"), Option("", "ast")])
def test_other_options_are_not_changed(option: Option) -> None:
    assert resolve([option, Option("--teacher")]) == ([option, Option("--teacher")], set())


@pytest.mark.parametrize(
    ("name", "message"),
    [("baets", "unknown teacher 'baets'; did you mean 'beats'"), ("no_such.Teacher", "cannot import the teacher")],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve([Option("--teacher", name)])


def test_a_class_that_the_user_names_permits_its_package_and_the_working_directory() -> None:
    student = "tests.own_parts.TinyConvolution"
    found = resolve(parse_words(["--student", student, "--teacher", AST, "--allow_import", "other.part"]))
    assert found.packages == {"tests", "other"}  # our own classes need no permission
    assert found.options[0] == Option("--student", student)
    assert sys.path[-1] == os.getcwd()


def test_registered_names_leave_the_path_of_modules_alone() -> None:
    before = list(sys.path)
    resolve(parse_words(["--teacher", "ast", "--data", "a.b"]))
    assert sys.path == before


def test_the_components_of_a_command() -> None:
    found = {command: components_of(command) for command in ("fit", "embed", "report")}
    assert found == {"fit": ["teacher", "student", "objective"], "embed": ["teacher"], "report": []}


def test_a_component_of_which_only_options_are_given_is_the_default() -> None:
    assert default_components("fit", parse_words(["--objective.loss=mse"])) == [
        Option("--objective", import_path("objective", "embedding"))
    ]
    assert default_components("fit", parse_words(["--objective", "embedding", "--objective.loss=mse"])) == []
    assert default_components("fit", parse_words(["--epochs=3"])) == []


def test_an_option_of_no_component_is_refused_unless_a_file_may_name_it() -> None:
    words = ["--teacher.bands=2"]
    with pytest.raises(UserError, match=r"^--teacher\.bands: --teacher NAME must come before it$"):
        default_components("fit", parse_words(words))
    assert default_components("fit", parse_words([*words, "--config", "run.yaml"])) == []
