"""The public names and their types: what a user's code may rely on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mypy import api

import distill
from distill.students.student import Student

ROOT = Path(__file__).parents[2]
USER = Path(__file__).with_name("typed_user.py")
PUBLIC = [
    "Arithmetic", "AudioBatch", "Crop", "Data", "Embeddings", "Engine", "ExportedStudent", "Frozen", "LogMel",
    "Objective", "Optimizer", "Precomputed", "Sampling", "Student", "Teacher", "UserError", "Views", "Windows",
    "by_length", "check_contract", "cluster", "create_student", "create_teacher", "embed", "evaluate", "export", "fit",
    "frame_mask", "list_students", "list_teachers", "load", "predict", "probe", "push", "rank", "register_loss",
    "register_objective", "register_student", "register_teacher", "report", "search", "store",
]  # fmt: skip


def line_of(start: str) -> int:
    return next(number for number, line in enumerate(USER.read_text().splitlines(), 1) if line.startswith(start))


def test_the_public_names() -> None:
    assert distill.__all__ == PUBLIC
    assert dir(distill) == PUBLIC
    for name in PUBLIC:
        assert getattr(distill, name).__name__ == name


def test_a_type_checker_knows_the_public_names_and_finds_misspelt_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cache and the settings of `make check`, so that mypy reads only this script anew."""
    monkeypatch.chdir(ROOT)
    printed, failed, _ = api.run(["--config-file", "pyproject.toml", "--no-pretty", str(USER)])
    assert not failed
    found = re.findall(r"typed_user\.py:(\d+): (error: .+|note: Revealed type is .+)", printed)
    student, tensor = (
        f'note: Revealed type is "{kind}"' for kind in (f"{Student.__module__}.Student", "torch._tensor.Tensor")
    )
    assert [message for _, message in found[:3]] == [student, student, tensor], printed
    (line, unknown), (other, misspelt) = found[3:]
    assert (int(line), int(other)) == (line_of("distill.fit(teecher"), line_of("distill.fitt"))
    assert 'keyword argument "teecher"' in unknown
    assert 'no attribute "fitt"' in misspelt
