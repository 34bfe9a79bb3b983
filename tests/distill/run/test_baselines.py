"""The baselines of an encoder: which ones are found, and why a teacher is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import distill
from distill.evaluation.results import MEL, TEACHER, UNTRAINED
from distill.run.baselines import Reference, baselines_of
from distill.run.identity import identity
from tests.distill.commands.test_fit import fit

STUDENT = {"class_path": "mobilenet_v3", "init_args": {"width": 0.1}}


@pytest.fixture
def run(sounds: Callable[..., Path], tmp_path: Path) -> Path:
    """Return the folder of a run of one epoch with the teacher `spectral`."""
    fit(sounds(8, seconds=0.1), tmp_path / "run", student=STUDENT, epochs=1)
    return tmp_path / "run"


def found(run: Path, **options: Any) -> list[Reference]:
    return baselines_of(distill.load(str(run)), str(run), **options)


def rewrite(run: Path, teacher: Any) -> None:
    """Replace the teacher in config.yaml."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"teacher": teacher}))


def test_a_student_has_mel_statistics_the_untrained_student_and_its_teacher(run: Path) -> None:
    mel, untrained, teacher = found(run)
    assert [one.role for one in (mel, untrained, teacher)] == [MEL, UNTRAINED, TEACHER]
    assert [one.folder for one in (mel, untrained, teacher)] == [
        "embeddings_mel", "embeddings_untrained", "embeddings_teacher",
    ]  # fmt: skip
    student = distill.load(str(run))
    assert mel.encoder.sample_rate == student.sample_rate
    assert type(untrained.encoder) is type(student)
    assert identity(untrained.encoder) != identity(student)
    assert identity(teacher.encoder) == student.teachers["spectral"]


def test_an_untrained_student_is_its_own_baseline(run: Path) -> None:
    assert [one.role for one in found(run, untrained=True)] == [MEL, TEACHER]


def test_a_teacher_has_mel_statistics_only_and_mel_statistics_have_none() -> None:
    assert [one.role for one in baselines_of(distill.create_teacher("spectral"), None)] == [MEL]
    assert baselines_of(distill.create_teacher("mel"), None) == []


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        ({"class_path": "spectral", "init_args": {"windows": {"seconds": 3.0}}}, "spectral .* weights differ"),
        ({"class_path": "no_such_package.Teacher", "init_args": {}}, "--allow_import no_such_package"),
        ({"class_path": "precomputed", "init_args": {"store": "nowhere"}}, "precomputed is not a baseline here"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_be_built_or_is_another_one_is_named(
    teacher: dict[str, Any], reason: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(run, teacher)
    assert [one.role for one in found(run)] == [MEL, UNTRAINED]
    assert re.search(reason, capsys.readouterr().out)


def test_a_class_is_imported_only_with_permission(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_teacher_of_this_test.py").write_text("raise ValueError('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    rewrite(run, {"class_path": "own_teacher_of_this_test.Teacher", "init_args": {}})
    for permitted in (None, "own_teacher_of_this"):  # another package, whose name begins alike
        found(run, allow_import=permitted)
        assert "it was imported" not in capsys.readouterr().out
    found(run, allow_import="own_teacher_of_this_test")
    assert "it was imported" in capsys.readouterr().out


def test_without_a_config_the_teachers_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "config.yaml").unlink()
    assert [one.role for one in found(run)] == [MEL, UNTRAINED]
    assert "the teacher spectral is not a baseline here" in capsys.readouterr().out
