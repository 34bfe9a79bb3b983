"""Tables in text: separators, quotes, line numbers and encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.tables.text import open_delimited, open_json
from tests.data.clips.written import table


@pytest.mark.parametrize(
    ("name", "text", "remark"),
    [
        ("a.csv", "path,label;x\nb.wav,y\n", ""),
        ("a.csv", "path;label\nb.wav;y\n", "separated by semicolons"),
        ("a.csv", "path\tlabel\nb.wav\ty\n", "separated by tabs"),
        ("a.csv", "path|label\nb.wav|y\n", "separated by vertical bars"),
        ("a.tsv", "path,label\nb.wav,y\n", "separated by commas"),
        ("a.tsv", "path\tlabel\nb.wav\ty\n", ""),
        ("a.txt", "path\tlabel\nb.wav\ty\n", ""),
        ("a.csv", "path\nb.wav\n", ""),
    ],
)
def test_the_separator_is_that_which_finds_the_columns(name: str, text: str, remark: str, tmp_path: Path) -> None:
    manifest = read_manifest(table(tmp_path, text, name))
    assert list(manifest.ids) == ["b.wav"]
    assert remark in summary_of(manifest)
    assert ("separated" in summary_of(manifest)) == bool(remark)


def test_rows_keep_the_numbers_of_their_lines(tmp_path: Path) -> None:
    text = 'path,label\n"a.wav","one\ntwo"\n\n../b.wav,x\r\nc.wav\n'
    manifest = read_manifest(table(tmp_path, text))
    assert [aside.detail.partition(":")[0] for aside in manifest.notes.set_aside] == ["line 6", "line 5"]
    assert manifest.classes == ("one\ntwo",)


def test_a_space_after_each_comma_belongs_to_no_cell(tmp_path: Path) -> None:
    text = 'label, path, start\n"x, y", a b.wav, 1\n'
    assert list(read_manifest(table(tmp_path, text)).ids) == ["a b.wav@1"]
    assert list(read_manifest(table(tmp_path, "label,path\nx, a.wav\n")).ids) == [" a.wav"]


def test_file_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\ncaf\xe9.wav,x\n\xc3\xa9.wav,y\n")
    assert list(read_manifest(tmp_path / "t.csv").ids) == ["caf\udce9.wav", "é.wav"]


def test_fields_behind_the_columns_may_be_empty(tmp_path: Path) -> None:
    assert list(read_manifest(table(tmp_path, "path,label\na.wav,x,,\n")).ids) == ["a.wav"]


def test_a_label_track_keeps_wrong_lines_apart(tmp_path: Path) -> None:
    track = open_delimited(table(tmp_path, "0\t1\n\\\t5\t6\n1\t2\tx\ty\n2\t2\t\n\n", "a.txt"), "\t")
    (chunk,) = track.chunks(["end", "label"])
    assert (list(chunk.lines), dict(chunk.columns)) == ([1, 4], {"end": ("1", "2"), "label": ("", "")})
    assert list(chunk.broken) == [3]


def test_columns_of_json_are_those_of_all_lines(tmp_path: Path) -> None:
    opened = open_json(table(tmp_path, '{"path": "a"}\n\n3\n{"path": "b", "label": "x"}\n', "t.jsonl"))
    assert opened.header == ("path", "label")
    (chunk,) = opened.chunks(["label"])
    assert (list(chunk.lines), list(chunk.columns["label"]), list(chunk.broken)) == ([1, 4], [None, "x"], [3])
