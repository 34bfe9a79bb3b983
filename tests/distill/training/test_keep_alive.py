"""Checkpoints of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import distill
from distill.run.folder import Run
from tests.distill.commands.test_fit import AST, fit, weights


def test_resume_passes_over_a_damaged_checkpoint(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(12)
    fit(data, tmp_path / "run")
    expected = weights(tmp_path / "run")
    run = Run(tmp_path / "run")
    newest = max(run.checkpoints.glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:-10])
    (run.student / "config.json").unlink()
    distill.fit(out=str(run.path), resume=True)
    assert "is damaged and not used" in capsys.readouterr().out
    assert all(weights(run.path)[key].equal(value) for key, value in expected.items())


def test_checkpoints_load_as_data_only_and_hold_no_teacher(sounds: Callable[..., Path], tmp_path: Path) -> None:
    fit(sounds(8), tmp_path / "run", teacher=AST, live=True)
    checkpoints = sorted((tmp_path / "run" / "checkpoints").glob("*.ckpt"))
    assert len(checkpoints) == 2
    state = torch.load(checkpoints[-1], weights_only=True)["state_dict"]
    assert {key.split(".")[1] for key in state if "imitations" not in key} == {"student"}
    assert {key.split(".")[3] for key in state if "imitations" in key} == {"projector", "normalise", "yardstick"}
