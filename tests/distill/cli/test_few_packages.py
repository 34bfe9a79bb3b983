"""Options of `distill predict` where PyTorch and jsonargparse are not installed."""

from __future__ import annotations

from typing import Any

import pytest

import distill
from distill.cli.few_packages import options_without_torch
from distill.cli.words import parse_words
from distill.data.clips.crop import Crop
from distill.data.errors import UserError

GIVEN = ["--model", "x.onnx", "--data", "d", "--out", "t.csv"]


def options(*words: str) -> dict[str, Any]:
    return options_without_torch("predict", parse_words([*GIVEN, *words]))


def test_options_have_the_types_of_the_command() -> None:
    found = options("--windows", "3", "--scores=all", "--top", "2", "--threshold", "0.4")
    assert found == {
        "model": "x.onnx", "data": "d", "out": "t.csv", "windows": 3.0, "scores": "all", "top": 2, "threshold": 0.4
    }  # fmt: skip
    assert options("--windows")["windows"] is True


def test_settings_are_given_part_by_part() -> None:
    found = options("--windows.seconds", "3", "--windows.hop", "1", "--crop.seconds", "2")
    assert found["windows"] == distill.Windows(3.0, 1.0)
    assert found["crop"] == Crop(2.0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "3"], "did you mean"),
        (["--top", "many"], "--top many: must be of type int"),
        (["--windows.length", "3"], "unknown option '--windows.length'"),
        (["--crop.seconds=-1"], "--crop: crop.seconds -1.0: must be at least 0"),
        (["night.wav"], "unknown option 'night.wav'"),
        (["--model", "runs/first"], "PyTorch is not installed"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        options(*words)


def test_a_missing_option_and_another_command_are_one_line() -> None:
    with pytest.raises(UserError, match="--data is required"):
        options_without_torch("predict", parse_words(GIVEN[:2]))
    with pytest.raises(UserError, match="PyTorch is not installed: pip install audio-distill"):
        options_without_torch("fit", parse_words(GIVEN))


def test_help_describes_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_without_torch("predict", parse_words(["--help"]))
    assert "windows: Score each window" in capsys.readouterr().out
