"""The forecast of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.distill.commands.test_fit import fit


def test_dry_run_says_what_it_would_take_and_writes_nothing(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(sounds(8), tmp_path / "run", dry_run=True)
    printed = capsys.readouterr().out
    for words in ("teacher: spectral, 0 parameters", "clip 280", "memory", "on disk", "minutes", "nothing was written"):
        assert words in printed
    assert not (tmp_path / "run").exists()


def test_dry_run_says_what_each_device_would_get(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(sounds(8), tmp_path / "run", dry_run=True, batch_size=7, engine={"devices": 2, "num_nodes": 2, "workers": 0})
    assert "batch 7 = 3 x 2 + 1 x 1 (devices x clips)\n" in capsys.readouterr().out


def test_dry_run_forecasts_a_budget(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(sounds(8), tmp_path / "run", dry_run=True, epochs=None, budget="10h")
    assert " 12,000 steps" in capsys.readouterr().out  # 20 times the default
    fit(sounds(8), tmp_path / "run", dry_run=True, epochs=None, budget="1s")
    assert " 1 steps" in capsys.readouterr().out
