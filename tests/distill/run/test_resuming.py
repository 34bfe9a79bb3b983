"""Which options of a resumed run may change, and where it continues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill.data.errors import UserError
from distill.data.files import file_digest
from distill.run.folder import Run
from distill.run.resuming import Stopped, check_same_run, newest_checkpoint

BEFORE: dict[str, Any] = {
    "epochs": 3, "out": "a", "seed": 0, "engine": {"devices": 1},
    "student": {"class_path": "x", "init_args": {"width": 1.0, "sides": [4, 8]}},
}  # fmt: skip


def test_duration_hardware_and_place_may_change() -> None:
    check_same_run(BEFORE, BEFORE | {"epochs": 9, "out": "b", "engine": {"devices": 2}})


def test_other_options_may_not_and_each_is_named_with_both_values() -> None:
    student = {"class_path": "x", "init_args": {"width": 2.0, "sides": [4, 8]}}
    with pytest.raises(UserError, match=r"seed was 0, is 5; student was .*'width': 1\.0.*, is .*'width': 2\.0"):
        check_same_run(BEFORE, BEFORE | {"seed": 5, "student": student, "epochs": 9})
    student = {"class_path": "x", "init_args": {"width": 1.0, "sides": [4, 8, 16]}}
    with pytest.raises(UserError, match="student was"):
        check_same_run(BEFORE, BEFORE | {"student": student})


def test_an_option_that_an_earlier_version_did_not_have_is_no_change() -> None:
    student = {"class_path": "x", "init_args": {"width": 1.0, "sides": [4, 8], "depth": 2}}
    check_same_run(BEFORE, BEFORE | {"student": student})
    with pytest.raises(UserError, match="student was"):
        check_same_run(BEFORE | {"student": student}, BEFORE)  # an option that is missing now


def test_the_newest_intact_checkpoint_is_used_and_damaged_ones_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)
    assert newest_checkpoint(run) is None
    assert capsys.readouterr().out == "no checkpoint yet: starting again\n"
    run.checkpoints.mkdir()
    for step in (1, 2):
        path = run.checkpoints / f"step_{step:09d}.ckpt"
        path.write_bytes(b"weights")
        path.with_suffix(".sha256").write_text(file_digest(path) + "\n")
    path.write_bytes(b"weight")
    assert newest_checkpoint(run) == run.checkpoints / "step_000000001.ckpt"
    assert capsys.readouterr().out.splitlines()[0] == f"{path} is damaged and not used"


def test_a_stopped_run_ends_with_the_code_of_its_signal() -> None:
    assert Stopped("resume it", 15).exit_code == 143
