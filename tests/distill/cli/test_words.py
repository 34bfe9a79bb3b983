"""The words of a command as options."""

from __future__ import annotations

import os

import pytest

from distill.cli.words import Option, last, name_positions, parse_words


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--data x --epochs=3", [("--data", "x"), ("--epochs", "3")]),
        ("--dry_run --data x", [("--dry_run", "true"), ("--data", "x")]),
        ("--save_head --data x", [("--save_head", "true"), ("--data", "x")]),
        ("--resume false --out r", [("--resume", "false"), ("--out", "r")]),
        ("--out= --data x", [("--out", ""), ("--data", "x")]),
        ("--compare a b --out c", [("--compare", '["a", "b"]'), ("--out", "c")]),
        ("--compare=a b", [("--compare", '["a", "b"]')]),
        ("--support 0.5,1 2", [("--support", "[0.5, 1, 2]")]),
        ("--support=[0.5,1]", [("--support", "[0.5, 1]")]),
        ("--teacher+=beats --help", [("--teacher+", "beats"), ("--help", None)]),
        ("--sampling.temper -1 x", [("--sampling.temper", "-1"), ("", "x")]),
        ("stray --print_config y", [("", "stray"), ("--print_config", None), ("", "y")]),
    ],
)
def test_words_become_options(words: str, options: list[tuple[str, str | None]]) -> None:
    assert parse_words(words.split()) == [Option(*option) for option in options]


def test_options_become_words_again() -> None:
    options = [Option("--data", "my sounds"), Option("--help"), Option("", "stray"), Option("--out", "")]
    assert [option.as_word() for option in options] == ["--data=my sounds", "--help", "stray", "--out="]


def test_a_home_after_an_equals_sign_is_found() -> None:
    assert parse_words(["--data=~/sounds"]) == [Option("--data", os.path.expanduser("~/sounds"))]


def test_the_last_of_an_option_holds() -> None:
    options = parse_words(["--out", "a", "--resume", "--out", "b", "--resume", "false"])
    assert last(options, "--out").value == "b"
    assert not last(options, "--resume").is_true
    assert last(options, "--data") == Option("--data")
    assert last(parse_words(["--resume"]), "--resume").is_true


def test_words_without_a_name_are_options_in_their_order() -> None:
    options = parse_words(["runs/a", "--public", "--licence", "MIT", "me/name"])
    named = name_positions(options, ["--model", "--to"])
    assert [option.name for option in named] == ["--model", "--public", "--licence", "--to"]
    further = name_positions(parse_words(["a", "b", "c"]), ["--x", "--y"])
    assert [option.name for option in further] == ["--x", "--y", "--y"]
