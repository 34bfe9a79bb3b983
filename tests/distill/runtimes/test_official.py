"""The official format of every student that starts from official files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import distill
from distill.data.errors import UserError
from distill.runtimes import official
from distill.runtimes.official import write_official
from distill.students.heads import Classifier, Head
from tests.students.test_checkpoints import READERS, clip, read
from tests.students.tiny import tiny_student


@pytest.mark.parametrize("name", [name for name in READERS if name != "bc_resnet"])
def test_a_student_from_the_file_is_the_same(name: str, tmp_path: Path) -> None:
    student = tiny_student(name)
    student.licence = "MIT"
    line = write_official(student, tmp_path / "new" / "official.pt")
    assert "licence of what it learned from: MIT" in line
    assert clip(read(name, tmp_path / "new" / "official.pt")).equal(clip(student))
    state = torch.load(tmp_path / "new" / "official.pt", weights_only=True)
    assert state.keys() == student.official_state().keys()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["official.pt"]


def test_the_line_says_that_a_head_is_left_out(tmp_path: Path) -> None:
    student = tiny_student("mobilenet_v3")
    assert "its head" not in write_official(student, tmp_path / "a.pth")
    student.labels, student.classifier = ("a", "b"), Classifier("one of", Head(student.clip_dim, 2))
    assert "its head is left out" in write_official(student, tmp_path / "b.pth")


def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no published code has the network of CNN"):
        write_official(tiny_student("cnn"), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"must end in \.pt or \.pth"):
        write_official(tiny_student("mobilenet_v3"), tmp_path / "x.ckpt")
    student, create = tiny_student("mobilenet_v3"), official.STUDENTS.create

    def changed(*names: str, **options: object) -> distill.Student:
        with torch.no_grad():
            (again := create(*names, **options)).features[0][0].weight.mul_(2)
        return again

    monkeypatch.setattr(official.STUDENTS, "create", changed)
    with pytest.raises(UserError, match="a student from the file differs by"):
        write_official(student, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())
