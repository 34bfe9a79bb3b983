"""Tables of clips: what is read from each kind, and which rows and tables are refused."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.tables.reading import read_table
from distill.data.errors import UserError
from tests.data.clips.written import parquet, table

Window = tuple[str, float, float | None, tuple[str, ...]]


def windows(manifest: Manifest) -> list[Window]:
    return [(row.path.name, row.start, row.duration, row.labels) for row in manifest.rows]


DOGS: list[Window] = [("a.wav", 0.0, 0.5, ("dog",)), ("a.wav", 0.5, 0.5, ("cat",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("own.csv", "path,start,end,label\na.wav,0,0.5,dog\na.wav,0.5,1,cat\n"),
        ("duration.csv", "path,start,duration,label\na.wav,0,0.5,dog\na.wav,0.5,0.5,cat\n"),
        ("opensoundscape.csv", "file,start_time,end_time,label\na.wav,0,0.5,dog\na.wav,0.5,1,cat\n"),
        ("spaces.csv", "path, Start, END , Label\na.wav, 0, 0.5, dog\na.wav, 0.5, 1, cat\n"),
        ("birdnet.csv", "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
                        "0.0,0.5,C,dog,0.9,a.wav\n0.5,1.0,C,cat,0.8,a.wav\n"),
        ("raven.txt", "Selection\tView\tBegin Time (s)\tEnd Time (s)\tSpecies\tBegin File\n"
                      "1\tS\t0.0\t0.5\tdog\ta.wav\n2\tS\t0.5\t1.0\tcat\ta.wav\n"),
        ("a.Table.1.selections.txt", "Selection\tBegin Time (s)\tEnd Time (s)\tAnnotation\n"
                                     "1\t0\t0.5\tdog\n2\t.5\t1\tcat\n"),
        ("a.BirdNET.results.csv", "Start (s),End (s),Common name\n0,0.5,dog\n0.5,1,cat\n"),
        ("a.txt", "0.000000\t0.500000\tdog\n\\\t100.0\t200.0\n0.5\t1.0\tcat\n"),
        ("dcase.tsv", "filename\tonset\toffset\tevent_label\na.wav\t0\t0.5\tdog\na.wav\t0.5\t1\tcat\n"),
        ("lhotse.jsonl", '{"audio_path": "a.wav", "offset": 0, "duration": 0.5, "label": "dog"}\n'
                         '{"audio_path": "a.wav", "offset": 0.5, "duration": 0.5, "label": "cat"}\n'),
        ("hub.jsonl", '{"audio": {"path": "a.wav", "bytes": null}, "start": 0, "end": 0.5, "label": ["dog"]}\n'
                      '{"audio": {"path": "a.wav"}, "start": 0.5, "end": 1, "label": ["cat"]}\n'),
        ("excel.csv", "path;start;end;label\na.wav;0;0.5;dog\na.wav;0.5;1;cat\n"),
    ],
)  # fmt: skip
def test_the_tables_of_the_field_give_windows_and_labels(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "b.wav").touch()
    manifest = read_manifest(table(tmp_path, text, name))
    assert windows(manifest) == [(file, start, pytest.approx(length), label) for file, start, length, label in DOGS]
    assert [row.id for row in manifest.rows] == ["a.wav@0", "a.wav@0.5"]


@pytest.mark.parametrize("header", ["path,label", "path,Label", "path, label", "path,species", "path,target",
                                    "path,primary_label", "File Name,Species_Code", "AUDIO,class"])  # fmt: skip
def test_the_column_of_labels_is_found_and_folders_are_no_labels(header: str, tmp_path: Path) -> None:
    rows = "".join(f"rec_{place}/{clip}.wav,{('robin', 'wren')[clip % 2]}\n" for place in "ab" for clip in range(4))
    manifest = read_manifest(table(tmp_path, f"{header}\n{rows}"))
    assert manifest.labelled().classes == ("robin", "wren")
    without = read_manifest(table(tmp_path, f"{header.split(',')[0]},bird\n{rows}"))
    assert without.labelled().classes == ()
    assert "no labels (no column of labels)" in summary_of(without)
    assert "columns not read: bird" in summary_of(without)


def test_named_columns_win_over_guesses(tmp_path: Path) -> None:
    path = table(tmp_path, "file,label,kind,split,part\na.wav,x,bird,train,b\nb.wav,y,bat,test,a\n")
    manifest = read_manifest(Data(path, label="kind", split="Part"))
    assert [(row.labels, row.split) for row in manifest.rows] == [(("bird",), "b"), (("bat",), "a")]
    assert manifest.notes.unread_columns == ("label", "split")
    with pytest.raises(UserError, match=r"--label spezies.*no such column; the columns are file, label, kind"):
        read_manifest(Data(path, label="spezies"))


def test_formats_give_equal_rows(tmp_path: Path) -> None:
    records = [{"path": "a.wav", "label": "x", "split": "dev"}, {"path": "b.wav", "label": "y", "split": None}]
    text = "path,label,split\na.wav,x,dev\nb.wav,y,\n"
    (tmp_path / "utf16.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "tabs.tsv").write_bytes(text.replace(",", "\t").encode("utf-16"))
    paths = [
        table(tmp_path, text),
        table(tmp_path, text.replace("\n", "\r\n"), "dos.csv"),
        table(tmp_path, "path,label,split\r\na.wav,x,dev\rb.wav,y,\n", "mixed.csv"),
        table(tmp_path, f"\ufeff{text}", "bom.csv"),
        table(tmp_path, f"\n\n{text}\n,,\n", "blank.csv"),
        tmp_path / "utf16.csv",
        tmp_path / "tabs.tsv",
        table(tmp_path, "\n".join(map(json.dumps, records)), "t.jsonl"),
        parquet(tmp_path, {name: [record[name] for record in records] for name in records[0]}),
    ]
    manifests = [read_manifest(path) for path in paths]
    assert [row.split for row in manifests[0].rows] == ["validation", ""]
    assert manifests[0].classes == ("x", "y")
    for manifest in manifests[1:]:
        assert manifest.rows == manifests[0].rows
        assert manifest.digest == manifests[0].digest


def test_ids_and_digest_of_earlier_versions_stay(tmp_path: Path) -> None:
    text = "id,path,start,end,label\n,a.wav,,,x\n,b/c.wav,1.5,4,y\nown,d.wav,0,2.25,\n0,e.wav,12345.678,,z\n"
    manifest = read_manifest(table(tmp_path, text))
    assert list(manifest.ids) == ["a.wav", "b/c.wav@1.5", "own", "0"]
    assert manifest.digest == "843834ab48c27b1e6dcc4b43b1cd90569440a7085ba74d6c1207650acf916790"


WRONG_TABLES = {
    "empty": (b"", "c.csv", "the table is empty"),
    "blank lines": (b"\n\r\n \n", "c.csv", "the table is empty"),
    "empty json": (b"", "c.jsonl", "no column of audio files"),
    "only a header": (b"path,label\n", "c.csv", "no rows|no audio"),
    "a header of nothing": (b",,,\na.wav,x,y,z\n", "c.csv", "no column of audio files"),
    "no column of paths": (b"label\nx\n", "c.csv", "no column of audio files.*columns are label"),
    "no header": (b"a.wav,dog\nb.wav,cat\n", "c.csv", "is the header missing"),
    "a long line": (b"path\n" + b"a" * (1 << 21) + b"\n", "c.csv", "line 2: longer than"),
    "a long header": (b"a" * (1 << 21), "c.csv", "line 1: longer than"),
    "an open quote": (b'path,label\n"a.wav,x\n' + b"b.wav,y\n" * 300_000, "c.csv", "quote missing"),
    "a row without end": (b"path,label\n" + b'"a\n",' * 400_000, "c.csv", "quote missing"),
    "NUL bytes": (b"path\0,label\na.wav,x\n", "c.csv", "line 1: holds NUL"),
    "NUL bytes later": (b"path,label\na.wav,x\nb\0.wav,x\n", "c.csv", "line 3: holds NUL"),
    "UTF-16 without a mark": ("path\na.wav\n".encode("utf-16-le"), "c.csv", "NUL"),
    "half of UTF-16": ("path\na.wav\n".encode("utf-16")[:-1], "c.csv", "not utf-16.*cut off"),
    "sound": (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "c.csv", "NUL"),
    "compressed": (zlib.compress(bytes(range(256)) * 90), "c.csv", "NUL|no column|longer"),
    "a million columns": (b"path," + b"a," * 500_000, "c.csv", "500,002 columns; must be at most 10,000"),
    "a million columns in json": (json.dumps({f"c{n}": 0 for n in range(20_000)}).encode(), "c.jsonl", "has 20,000"),
    "long names in json": (json.dumps({"c" * (1 << 21): 0}).encode(), "c.jsonl", "names of its columns"),
    "one name twice": (b"path,label,label\na.wav,x,y\n", "c.csv", "'label' and 'label' have the same name"),
    "one name in two spellings": (b"path,label, Label\na.wav,x,y\n", "c.csv", "same name"),
    "two ids": (b"id,path\nx,a.wav\nx,b.wav\n", "c.csv", "line 3: the id 'x' occurs twice"),
    "no utf-8 in labels": (b"path,label\na.wav,caf\xe9\n", "c.csv", "udce9' in column 'label' is not UTF-8"),
    "no parquet": (b"no parquet at all", "c.parquet", "not a Parquet file"),
    "a parquet footer of 2 GB": (b"PAR1" + b"\0" * 20 + b"\xff\xff\xff\x7fPAR1", "c.parquet", "too many columns"),
    "no json": (b"PK\x03\x04 no json\n[1, 2]\n3\n", "c.jsonl", "no column of audio files"),
    "a track without sound": (b"0\t1\tdog\n", "none.txt", "no recording of its name"),
    "a raven table without sound": (b"Begin Time (s)\tEnd Time (s)\n0\t1\n", "none.txt", "no recording of its name"),
    "a text": (b"How to use these sounds\nFirst\n", "README.txt", "no column of audio files"),
    "no table": (b"x", "c.docx", "must be a folder of audio, a table .* or a tar"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_TABLES)
def test_a_wrong_table_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    content, name, message = WRONG_TABLES[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_manifest(tmp_path / name)
    assert name in str(error.value)
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


LONG = "x" * 5000
WRONG_ROWS = {  # kind: row of path, start and end, reason, detail
    "a path above": ("../a.wav,,", "outside", "lies outside"),
    "a path of the system": ("/etc/passwd,,", "outside", "--root DIR"),
    "a path above in the middle": ("b/../../a.wav,,", "outside", "lies outside"),
    "the folder above": ("b/../..,,", "outside", "lies outside"),
    "an address": ("https://x/a.wav,,", "address", "is an address"),
    "a pipe": ("pipe:rm x,,", "address", "is an address"),
    "a path of Windows": ("C:\\data\\a.wav,,", "outside", "path of Windows"),
    "a long path": (f"{LONG},,", "bad_name", "5,000 characters"),
    "no path": (",1,2", "no_path", "no path"),
    "a word as a start": ("a.wav,soon,", "bad_window", "start is 'soon', not a number"),
    "a word as an end": ("a.wav,0,late", "bad_window", "end is 'late', not a number"),
    "NaN": ("a.wav,nan,2", "bad_window", "impossible"),
    "infinity": ("a.wav,0,inf", "bad_window", "impossible"),
    "a negative start": ("a.wav,-1,2", "bad_window", "impossible"),
    "an end before the start": ("a.wav,3,2", "bad_window", "a window of -1 s that starts at 3 s"),
    "nothing": ("a.wav,2,2", "bad_window", "empty"),
    "a huge number": ("a.wav,1e300,", "bad_window", "impossible"),
    "a number that is too long": (f"a.wav,{'9' * 400},", "bad_window", "impossible"),
    "too few fields": ("a.wav", "bad_row", "1 fields for 3 columns"),
    "too many fields": ("a.wav,0,1,2", "bad_row", "4 fields for 3 columns"),
}


@pytest.mark.parametrize("kind", WRONG_ROWS)
def test_a_wrong_row_is_set_aside_and_a_table_of_wrong_rows_is_refused(kind: str, tmp_path: Path) -> None:
    row, reason, detail = WRONG_ROWS[kind]
    header = "path,start,end\n"
    manifest = read_manifest(table(tmp_path, f"{header}good.wav,1,2\n{row}\nlast.wav,,\n"))
    assert list(manifest.ids) == ["good.wav@1", "last.wav"]
    (aside,) = manifest.notes.set_aside
    assert (aside.reason, aside.detail.startswith("line 3: ")) == (reason, True)
    assert detail in aside.detail
    assert len(aside.detail) < 500
    assert f"left out: 1 {reason}" in summary_of(manifest)
    with pytest.raises(UserError, match=r"line 2: .*none of its 2 rows can be used"):
        read_manifest(table(tmp_path, f"{header}{row}\n{row}\n"))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ('{"path": "b', "bad_row"),
        ("[1]", "bad_row"),
        ('{"path": ["a.wav"]}', "bad_row"),
        ('{"path": "a\\u0000.wav"}', "bad_name"),
        ('{"path": "a\\ud800.wav"}', "bad_name"),
        ('{"path": {"bytes": "UklGRg=="}}', "bad_row"),
        ('{"path": {}}', "no_path"),
        ('{"path": null}', "no_path"),
        ('{"path": "a.wav", "start": {}}', "bad_window"),
        ('{"path": "a.wav", "start": NaN}', "bad_window"),
        ('{"path": "a.wav", "label": {"a": 1}}', "bad_row"),
        ('{"path": "a.wav", "start": ' + "1" * 5000 + "}", "bad_row"),
        ("[" * 100_000, "bad_row"),
    ],
)
def test_a_wrong_json_row_is_set_aside(record: str, reason: str, tmp_path: Path) -> None:
    good = '{"path": "good.wav", "start": 1, "label": 3}\n'
    manifest = read_manifest(table(tmp_path, f"{good}{record}\n", "c.jsonl"))
    assert [(row.id, row.labels) for row in manifest.rows] == [("good.wav@1", ("3",))]
    assert [(aside.reason, aside.detail[:7]) for aside in manifest.notes.set_aside] == [(reason, "line 2:")]


def test_many_wrong_rows_are_counted_and_the_first_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distill.data.clips.tables.reading._MAX_LISTED", 3)
    monkeypatch.setattr("distill.data.clips.tables.chunks.CHUNK_ROWS", 2)
    manifest = read_manifest(table(tmp_path, "path\n" + "../x.wav\n" * 5 + "a.wav\n" + "../x.wav\n" * 4))
    assert list(manifest.ids) == ["a.wav"]
    assert [aside.detail[:6] for aside in manifest.notes.set_aside] == ["line 2", "line 3", "line 4"]
    assert "left out: 6 more rows that cannot be used, 3 outside" in summary_of(manifest)


def test_paths_below_the_root_take_no_memory_and_windows_keep_them(tmp_path: Path) -> None:
    whole = read_table(table(tmp_path, "path,label\na.wav,x\n/elsewhere/b.wav,y\n"))
    assert whole.rows.paths is None
    assert [row.path for row in whole.rows] == [tmp_path / "a.wav"]
    part = read_table(table(tmp_path, f"path,start\nb/a.wav,1\n{tmp_path}/c.wav,\n"))
    assert [row.path for row in part.rows] == [tmp_path / "b/a.wav", tmp_path / "c.wav"]


def test_a_root_says_where_the_audio_lies(tmp_path: Path) -> None:
    audio, lists = tmp_path / "audio", tmp_path / "lists"
    audio.mkdir()
    lists.mkdir()
    path = table(lists, f"path,label\na.wav,x\n{audio}/b.wav,y\n../lists/c.wav,z\n/etc/passwd,w\n")
    manifest = read_manifest(Data(path, root=audio))
    assert [row.path for row in manifest.rows] == [audio / "a.wav", audio / "b.wav"]
    assert [aside.reason for aside in manifest.notes.set_aside] == ["outside", "outside"]
    assert "--root DIR" in read_manifest(path).notes.set_aside[0].detail
    with pytest.raises(UserError, match=r"--root .*: no such folder"):
        read_manifest(Data(path, root=tmp_path / "none"))


def test_splits_have_standard_names(tmp_path: Path) -> None:
    rows = "path,split\na.wav,Test\nb.wav,val\nc.wav,train\nd.wav,dev\ne.wav,3\nf.wav,\n"
    parts = [row.split for row in read_manifest(table(tmp_path, rows)).rows]
    assert parts == ["test", "validation", "training", "validation", "3", ""]


def test_a_table_whose_files_do_not_exist_says_so(tmp_path: Path) -> None:
    path = table(tmp_path, "path\na.wav\nb.wav\n")
    assert "none of the first 2 files exists" in summary_of(read_manifest(path))
    (tmp_path / "b.wav").touch()
    assert "exists" not in summary_of(read_manifest(path))
