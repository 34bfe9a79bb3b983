"""Folders of tables, and metadata beside audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from tests.data.clips.written import parquet, table


def audio(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_of_an_audio_folder_is_read(name: str, tmp_path: Path) -> None:
    audio(tmp_path, "x/0.wav", "x/1.wav", "x/2.wav")
    if name.endswith("parquet"):
        parquet(tmp_path, {"file_name": ["x/1.wav", "x/0.wav"], "label": ["b", "a"]}, name)
    elif name.endswith("jsonl"):
        table(tmp_path, '{"file_name": "x/1.wav", "label": "b"}\n{"file_name": "x/0.wav", "label": "a"}\n', name)
    else:
        table(tmp_path, "file_name,label,text\nx/1.wav,b,t\nx/0.wav,a,t\n", name)
    manifest = read_manifest(tmp_path)
    assert [(row.path, row.labels) for row in manifest.rows] == [
        (tmp_path / "x/1.wav", ("b",)),
        (tmp_path / "x/0.wav", ("a",)),
    ]
    assert "left out: 1 audio files that it does not list" in summary_of(manifest)


def test_metadata_in_the_folders_of_splits(tmp_path: Path) -> None:
    audio(tmp_path, "train/0.wav", "train/1.wav", "test/0.wav")
    table(tmp_path / "train", "file_name,kind\n0.wav,a\n1.wav,b\n", "metadata.csv")
    table(tmp_path / "test", "file_name,kind\n0.wav,a\n../secret.wav,a\n../../secret.wav,a\n", "metadata.csv")
    manifest = read_manifest(Data(tmp_path, label="kind"))
    assert [(row.id, row.labels, row.split) for row in manifest.rows] == [
        ("test/0.wav", ("a",), "test"),
        ("test/../secret.wav", ("a",), "test"),
        ("train/0.wav", ("a",), "training"),
        ("train/1.wav", ("b",), "training"),
    ]
    assert [aside.detail[:20] for aside in manifest.notes.set_aside] == ["metadata.csv, line 4"]


def test_only_some_tables_of_a_folder_name_domains(tmp_path: Path) -> None:
    audio(tmp_path, *(f"{name}/{clip}.wav" for name in "abc" for clip in range(2)))
    for name, text in {"a": "file_name\n0.wav\n1.wav\n", "c": "file_name\n0.wav\n1.wav\n",
                       "b": "file_name,domain,start,end\n0.wav,rain,,\n0.wav,x,5,1\n1.wav,,,\n"}.items():  # fmt: skip
        table(tmp_path / name, text, "metadata.csv")
    domains = {row.id: row.domain for row in read_manifest(tmp_path).rows}
    assert domains == {f"{name}/{clip}.wav": "rain" * (name + str(clip) == "b0") for name in "abc" for clip in range(2)}


def test_metadata_without_labels_leave_them_to_the_folders(tmp_path: Path) -> None:
    audio(tmp_path, "cat/0.wav", "dog/0.wav")
    table(tmp_path, "file_name,text\ncat/0.wav,t\ndog/0.wav,t\n", "metadata.csv")
    assert read_manifest(tmp_path).labelled().classes == ("cat", "dog")


@pytest.mark.parametrize("text", ["", "title,year\nx,1999\n", "file_name\nelse.wav\n"])
def test_metadata_of_something_else_do_not_stop(text: str, tmp_path: Path) -> None:
    audio(tmp_path, "cat/0.wav", "dog/0.wav")
    table(tmp_path, text, "metadata.csv")
    assert read_manifest(tmp_path).labelled().classes == ("cat", "dog")
    assert "metadata.csv" in summary_of(read_manifest(tmp_path))


def test_damaged_metadata_are_refused(tmp_path: Path) -> None:
    table(audio(tmp_path, "cat/0.wav"), "file_name,label\ncat/0.wav,x\n\0\n", "metadata.csv")
    with pytest.raises(UserError, match=r"metadata.csv, line 3: holds NUL"):
        read_manifest(tmp_path)


def test_a_folder_of_tables_is_one_data_set(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    audio(tmp_path / "audio", "0.wav", "1.wav")
    lists.mkdir()
    table(lists, "path,label\n0.wav,a\n", "train.csv")
    table(lists, "label,path\na,1.wav\nb,../2.wav\n", "test.csv")
    table(lists, "How to use\n", "README.txt")
    manifest = read_manifest(Data(lists, root=tmp_path / "audio"))
    assert [(row.path, row.split) for row in manifest.rows] == [
        (tmp_path / "audio/1.wav", "test"),
        (tmp_path / "audio/0.wav", "training"),
    ]
    assert [aside.detail[:18] for aside in manifest.notes.set_aside] == ["test.csv, line 3: "]
    line = summary_of(manifest)
    assert "2 tables in" in line
    assert "not read: README.txt, which has no column of audio files" in line
    assert list(read_manifest(lists).ids) == ["1.wav", "0.wav"]


def test_selection_tables_beside_their_recordings_are_read_with_a_root(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav", "b.FLAC")
    raven = "Begin Time (s)\tEnd Time (s)\tSpecies\n1\t2\twren\n"
    table(tmp_path, raven, "a.Table.1.selections.txt")
    table(tmp_path, raven.replace("wren", "robin"), "b.Table.1.selections.txt")
    table(tmp_path, raven, "gone.Table.1.selections.txt")
    plain = read_manifest(tmp_path)
    assert list(plain.ids) == ["a.wav", "b.FLAC"]
    assert "such as a.Table.1.selections.txt, are not read; --root" in summary_of(plain)
    manifest = read_manifest(Data(tmp_path, root=tmp_path))
    assert [(row.id, row.duration, row.labels) for row in manifest.rows] == [
        ("a.wav@1", 1.0, ("wren",)),
        ("b.FLAC@1", 1.0, ("robin",)),
    ]
    assert [(aside.id, aside.reason) for aside in manifest.notes.set_aside] == [
        ("gone.Table.1.selections.txt", "no_recording")
    ]


def test_tables_with_labels_in_different_columns_are_refused(tmp_path: Path) -> None:
    table(tmp_path, "path,label,kind\na.wav,x,k\n", "a.csv")
    table(tmp_path, "path,species,kind\nb.wav,y,k\n", "b.csv")
    with pytest.raises(UserError, match=r"b.csv: the column of labels is species, but that of a.csv is label"):
        read_manifest(tmp_path)
    assert read_manifest(Data(tmp_path, label="kind")).classes == ("k",)


def test_tables_of_windows_and_of_files_are_joined(tmp_path: Path) -> None:
    table(tmp_path, "path\na.wav\n", "a.csv")
    table(tmp_path, "path,start,end\na.wav,1,2\nb.wav,,\n", "b.csv")
    table(tmp_path, "path\na.wav\nc.wav\n", "c.csv")
    manifest = read_manifest(tmp_path)
    assert [(row.id, row.path.name, row.start) for row in manifest.rows] == [
        ("a.wav", "a.wav", 0.0),
        ("a.wav@1", "a.wav", 1.0),
        ("b.wav", "b.wav", 0.0),
        ("c.wav", "c.wav", 0.0),
    ]
    assert "1 rows repeat a clip" in summary_of(manifest)


def test_options_of_tables_are_refused_for_a_folder_without_any(tmp_path: Path) -> None:
    audio(tmp_path, "a.wav")
    with pytest.raises(UserError, match="this folder has none"):
        read_manifest(Data(tmp_path, label="kind"))
