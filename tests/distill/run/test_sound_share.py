"""The share of the sound that is used, in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import distill
from distill.cli.shell import main
from distill.data.clips.dataset import Crop, Seconds
from distill.run.sound_share import share_line


@pytest.mark.parametrize(
    ("crop", "used", "available", "expected"),
    [
        (Crop(10.0), 10.0, 3600.0, "10.0 s of each clip: 0.28 % of 1.0 h of sound was used; do that"),
        (Crop(0.5), 60.0, 120.0, "0.5 s of each clip: 50 % of 2.0 min of sound was used; do that"),
        (Crop(2.0), 2.0, 5.0, "2.0 s of each clip: 40 % of 5.0 s of sound was used; do that"),
        (Crop(10.0), 995.0, 1000.0, ""),
        (Crop(0.0), 1.0, 1000.0, ""),
        (Crop(10.0), 0.0, 0.0, ""),  # nothing was embedded now
    ],
)
def test_the_line_names_the_share(crop: Crop, used: float, available: float, expected: str) -> None:
    assert share_line(crop, Seconds(used, available), "of sound", "do that") == expected


def test_commands_say_which_share_was_used(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(4, seconds=2.0))
    line = "0.5 s of each clip: 25 % of 8.1 s of sound"

    def said(*words: str) -> str:
        main([*words, "--data", data, "--teacher", "spectral"])
        return capsys.readouterr().out

    embed = ("embed", "--workers=0", "--crop.seconds=0.5")
    assert f"{line} was used; --windows embeds all of it" in said(*embed, "--out", str(tmp_path / "a"))
    assert "of each clip" not in said(*embed, "--out", str(tmp_path / "a"))  # nothing is embedded again
    assert "of each clip" not in said("embed", "--workers=0", "--out", str(tmp_path / "b"))  # 10 s are all of it
    fit = (
        "fit",
        "--student=cnn",
        "--student.width=0.1",
        "--crop.seconds=0.5",
        "--max_steps=1",
        "--out",
        str(tmp_path / "r"),
    )
    assert f"{line} in the first batch was used" in said(*fit, "--dry_run")
    assert f"{line} was used; the windows of `distill embed --windows`" in said(*fit)


def test_a_probe_says_it_once(sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    distill.probe(
        str(sounds(10, seconds=2.0)), teacher="spectral", crop=Crop(0.5), workers=0, out=str(tmp_path / "probe")
    )
    assert capsys.readouterr().out.count("0.5 s of each clip: 25 % of 20.2 s of sound was used; --crop.seconds 0") == 1
