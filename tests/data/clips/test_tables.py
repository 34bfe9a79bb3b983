"""Tables of clips: CSV, JSONL and Parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError


def table(folder: Path, text: str, name: str = "clips.csv") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_csv_row_holds_window_labels_and_split(tmp_path: Path) -> None:
    row = read_manifest(table(tmp_path, 'path,start,end,label,fold\na.wav,1.5,4,"cat, dog",3\n')).rows[0]
    assert (row.id, row.start, row.duration, row.labels, row.split) == ("a.wav@1.5", 1.5, 2.5, ("cat", "dog"), "3")


def test_csv_jsonl_and_parquet_give_equal_rows(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    records = [{"path": "a.wav", "label": "x"}, {"path": "b.wav", "label": "y"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "t.parquet")
    paths = [
        table(tmp_path, "path,label\r\na.wav,x\r\nb.wav,y\r\n"),
        table(tmp_path, "\ufeffpath,label\na.wav,x\nb.wav,y\n", "bom.csv"),
        table(tmp_path, "\n".join(map(json.dumps, records)), "t.jsonl"),
        tmp_path / "t.parquet",
    ]
    rows = [read_manifest(path).rows for path in paths]
    assert all(other == rows[0] for other in rows)
    assert read_manifest(paths[0]).classes == ("x", "y")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("path\na.wav\na.wav\n", "c.csv", "line 3.*twice"),
        ("label\nx\n", "c.csv", "line 2.*no column path"),
        ("path,label\na.wav\n", "c.csv", "line 2.*cut off"),
        ("path,start\na.wav,soon\n", "c.csv", "line 2.*not a number"),
        ("path,start,end\na.wav,3,2\n", "c.csv", "line 2.*is empty"),
        ("path\n../a.wav\n", "c.csv", "line 2.*outside"),
        ("path\n/etc/passwd\n", "c.csv", "line 2.*outside"),
        ("path\nhttp://x/a.wav\n", "c.csv", "line 2.*address"),
        ("path\npipe:rm x\n", "c.csv", "line 2.*address"),
        ("path\0\n", "c.csv", "NUL"),
        ('{"path": "a.wav"}\n{"path": "b', "c.jsonl", "line 2.*not JSON"),
        ("no parquet", "c.parquet", "c.parquet"),
        ("path\n", "c.csv", "no audio"),
        ("x", "c.docx", "must be a folder of audio or a table"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(text: str, name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_manifest(table(tmp_path, text, name))


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "data"
    inner.mkdir()
    (inner / "a.wav").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="outside"):
        read_manifest(table(inner, "path\na.wav\n"))
    (inner / "up").symlink_to(tmp_path)
    with pytest.raises(UserError, match="outside"):
        read_manifest(table(inner, "path\nup/secret.wav\n"))
    (inner / "here").symlink_to(inner)
    assert len(read_manifest(table(inner, "path\nhere/b.wav\nhere/../data/c.wav\n"))) == 2


def test_splits_have_standard_names(tmp_path: Path) -> None:
    rows = "path,split\na.wav,Test\nb.wav,val\nc.wav,train\nd.wav,dev\ne.wav,3\nf.wav,\n"
    parts = [row.split for row in read_manifest(table(tmp_path, rows)).rows]
    assert parts == ["test", "validation", "training", "validation", "3", ""]
