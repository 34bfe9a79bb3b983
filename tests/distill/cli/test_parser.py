"""Options as keyword arguments, and the messages of jsonargparse that are rewritten: a new wording makes these fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.cli.components import resolve
from distill.cli.parser import parse_options, parser_of
from distill.cli.words import parse_words
from distill.data.clips.dataset import Crop
from distill.data.errors import UserError

MATPAC = "--teacher=distill.teachers.matpac.MATPAC"
MOBILENET = "--student=distill.students.mobilenet_v3.MobileNetV3"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epoch=3"], r"did you mean --epochs\? \(distill fit --help shows all options\)"),
        ([MOBILENET, "--student.widht=2"],
         r"^--student has no option 'widht'; did you mean --student.width\?"),
        ([MOBILENET, "--student.zzz=2"], r"^--student has no option 'zzz' "),
        ([MOBILENET, "--student.width=two"], r"^--student.width two: must be of type float \("),
        ([MATPAC, "--teacher.heads=two"], r"^--teacher.heads two: must be of type int \("),
        ([MATPAC], r"^--teacher.checkpoint is required \("),
        (["--objective=distill.objectives.masked.MaskedTokenPrediction"], r"^--objective.tokenizer is required \("),
        (["--crop.second=2"], r"did you mean --crop.seconds\?"),
        (["--epochs=many"], r"epochs"),
        (["stray"], r"[Uu]nrecognized arguments"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_a_suggestion(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parser_of("fit").parse_args(words)
    assert "\n" not in str(caught.value)


def test_options_become_typed_arguments_and_a_component_stays_a_mapping() -> None:
    words = "--teacher ast --teacher.checkpoint=x --data sounds --out store --crop.seconds=2"
    found = parse_options("embed", resolve(parse_words(words.split())))
    teacher = found["teacher"]
    assert (teacher["class_path"], teacher["init_args"]["checkpoint"]) == ("distill.teachers.ast.AST", "x")
    assert (found["data"], found["crop"]) == ("sounds", Crop(seconds=2))
    assert "config" not in found


def test_several_teachers_are_a_list() -> None:
    found = parse_options("fit", resolve(parse_words(["--teacher+=ast", "--teacher+=spectral"])))
    assert [teacher["class_path"].rpartition(".")[2] for teacher in found["teacher"]] == ["AST", "Spectral"]


def test_a_resumed_run_has_its_stored_options_unless_others_are_given(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("epochs: 7\nseed: 3\n")
    words = ["--out", str(tmp_path), "--seed=4"]
    resumed = parse_options("fit", resolve(parse_words([*words, "--resume"])))
    assert (resumed["epochs"], resumed["seed"], resumed["resume"]) == (7, 4, True)
    assert parse_options("fit", resolve(parse_words(words)))["epochs"] is None
