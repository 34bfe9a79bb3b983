"""From a student to the file of a runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from distill.data.errors import UserError
from distill.runtimes import formats
from distill.runtimes.check import Run
from distill.runtimes.graph import StudentGraph
from distill.students.student import Student
from tests.distill.runtimes.test_onnx_file import Loudness


def test_says_what_was_written_and_the_difference(tmp_path: Path) -> None:
    line = formats.write_student(Loudness(), tmp_path / "new" / "x.onnx")
    assert "differs from PyTorch by at most" in line
    assert "0.1, 0.5, 2, 7.3, 30 s" in line
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["x.onnx"]


def test_a_failed_check_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_run = formats.FORMATS["onnx"].run

    def louder(path: Path, graph: StudentGraph) -> Run:
        run = true_run(path, graph)
        return lambda waveform: run(waveform * 2)

    monkeypatch.setitem(formats.FORMATS, "onnx", replace(formats.FORMATS["onnx"], run=louder))
    (tmp_path / "x.onnx").write_bytes(b"earlier")
    with pytest.raises(UserError, match="the check failed"):
        formats.write_student(Loudness(), tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_student_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    class Branching(Loudness):
        def encode(self, batch):  # type: ignore[no-untyped-def]
            if float(batch.waveform.max()) > 0.5:
                raise ValueError
            return super().encode(batch)

    student: Student = Branching()
    student.eval()
    with pytest.raises(UserError, match="Branching cannot be written as a graph"):
        formats.write_student(student, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_the_suffix_names_the_format() -> None:
    found = [formats.format_of(Path(f"x{kind.suffix}")) for kind in formats.FORMATS.values()]
    assert found == list(formats.FORMATS)


@pytest.mark.parametrize(
    ("path", "name", "message"),
    [("x.txt", "", "must end in .onnx or .xml"), ("x.onnx", "pt2", "must end in .pt2"), ("x.onnx", "mp3", "--format")],
)
def test_another_suffix_or_format_is_refused(path: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        formats.format_of(Path(path), name)


def test_only_fixed_formats_take_a_length(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--seconds 3: only tflite and pte have a fixed length"):
        formats.write_student(Loudness(), tmp_path / "x.onnx", seconds=3)
    assert [formats._fixed_seconds("pte", given) for given in (None, 3.0)] == [2.0, 3.0]


def test_only_fixed_formats_leave_out_the_front_end(tmp_path: Path) -> None:
    for value, message in (("outside", "only tflite and pte"), ("beside", "must be one of inside, outside")):
        with pytest.raises(UserError, match=f"--front_end .*{message}"):
            formats.write_student(Loudness(), tmp_path / "x.onnx", front_end=value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(formats.FORMATS["openvino"], packages=("no_such_package",))
    monkeypatch.setitem(formats.FORMATS, "openvino", missing)
    with pytest.raises(UserError, match=r"pip install 'audio-distill\[openvino\]'"):
        formats.write_student(Loudness(), tmp_path / "x.xml")
    assert not list(tmp_path.iterdir())
