"""The page that runs a student in a browser. `make browser` runs it; here, no node and no browser is needed."""

from __future__ import annotations

import re
from pathlib import Path

import onnx

from tests.exported import exported_classifier

PAGE = Path(__file__).parents[2] / "experiments" / "browser" / "student.html"


def test_the_page_reads_metadata_that_an_export_writes_where_it_looks_for_them() -> None:
    text, model = PAGE.read_text(), onnx.load(exported_classifier()[2])
    stated = {entry.key for entry in model.metadata_props}
    assert set(re.findall(r"stated\.(\w+)", text)) - {"longest_seconds"} <= stated  # that of students with windows
    fields = onnx.ModelProto.DESCRIPTOR.fields_by_name
    assert f"field === {fields['metadata_props'].number})" in text
    assert {port.name for port in model.graph.input} == set(re.findall(r"session\.run\(\{ (\w+):", text))
    assert set(re.findall(r"found\.(\w+)\.data", text)) <= {port.name for port in model.graph.output}


def test_the_page_asks_no_other_machine() -> None:
    assert not re.findall(r"https?://", PAGE.read_text())
