"""What TensorFlow Lite files state about their sound."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from distill.data.errors import UserError
from distill.teachers.tflite_metadata import ATTACHED, read_metadata
from tests.teachers.tflite_files import build, stated

LABELS = {"labels.txt": "dog\ncat, black\nübung"}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (b"", {}),
        (stated(None, None, None), {}),
        (stated(16_000, None, None), {"sample_rate": "16000"}),
        (stated(48_000, "labels.txt", "CC BY-NC-SA\n4.0"),
         {"sample_rate": "48000", "licence": "CC BY-NC-SA 4.0", "labels": json.dumps(["dog", "cat, black", "übung"])}),
        (stated(16_000, None, "the whole text " * 20), {"sample_rate": "16000"}),
    ],
)  # fmt: skip
def test_what_a_file_states(metadata: bytes, expected: dict[str, str]) -> None:
    assert read_metadata(build(metadata=metadata, labels=LABELS), "here") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (build(metadata=stated(16_000, "gone.txt", None), labels=LABELS), "here: its metadata cannot be read"),
        (build(metadata=stated(16_000, "labels.txt", None)), "here: its metadata cannot be read"),
        (build(metadata=stated(16_000, "labels.txt", None)[:40]), "here: its metadata cannot be read"),
        (build(metadata=b"\xff" * 16), "here: its metadata cannot be read"),
        (build(external=True), "here: its weights lie in other files"),
    ],
)  # fmt: skip
def test_damaged_metadata_and_further_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_metadata(content, "here")


def test_what_an_exported_student_states() -> None:
    content = io.BytesIO(build())
    with zipfile.ZipFile(content, "a") as attached:
        attached.writestr(ATTACHED, json.dumps({"sample_rate": "32000", "licence": "MIT"}))
    assert read_metadata(content.getvalue(), "here") == {"sample_rate": "32000", "licence": "MIT"}
    with zipfile.ZipFile(content, "a") as attached, pytest.warns(UserWarning, match="Duplicate"):
        attached.writestr(ATTACHED, "[1]")
    with pytest.raises(UserError, match="here: its metadata cannot be read"):
        read_metadata(content.getvalue(), "here")
