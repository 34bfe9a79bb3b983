"""Windows of clips as rows, against the obvious loop."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from distill.data.clips import crop
from distill.data.clips.crop import clip_seconds
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.windows import in_windows, root_of, write_windows

RATE = 100


def counts(seconds: float, hop: float, lengths: NDArray[np.float64]) -> NDArray[np.int64]:
    return 1 + np.maximum(0, np.ceil((lengths - seconds) / hop)).astype(np.int64)


def cut(manifest: Manifest, seconds: float, hop: float) -> Manifest:
    return in_windows(manifest, seconds, hop, lambda lengths: counts(seconds, hop, lengths))


def write(folder: Path, **lengths: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, seconds in lengths.items():
        soundfile.write(folder / f"{name}.wav", np.full(round(seconds * RATE), 0.1), RATE)
    return folder


def obvious(manifest: Manifest, seconds: float, hop: float) -> list[Row]:
    """The rows of all windows, one after another."""
    rows = []
    for row in manifest.rows:
        length = row.duration or soundfile.info(row.path).duration
        start, count = 0.0, 1 + max(0, math.ceil((length - seconds) / hop))
        for number in range(count):
            start = round(number * hop, 6)
            begin = round(row.start + start, 6)
            name = f"{row.id}@{begin:.6f}".rstrip("0").rstrip(".")
            rows.append(
                Row(name, row.path, begin, min(seconds, round(length - start, 6)), row.labels, row.split, row.annotated)
            )
    return rows


@pytest.mark.parametrize(("seconds", "hop"), [(10.0, 10.0), (10.0, 9.92), (3.0, 2.992), (5.0, 12.5), (2.0, 0.5)])
@pytest.mark.parametrize("kind", ["folder", "rows"])
def test_rows_are_those_of_the_obvious_loop(seconds: float, hop: float, kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "sounds", short=1.5, exact=10.0, rest=12.0, long=61.37)
    manifest = read_manifest(folder)
    if kind == "rows":
        labels, annotated = ("dog, small", "cat"), ("dog, small", "cat", "owl")
        call = Row("call", folder / "long.wav", 30.5, 21.25, labels, "test", annotated)
        extra = [call, Row("rest", folder / "long.wav", 55.0, 6.37)]
        manifest = Manifest(folder, [*manifest.rows, *extra])
    found = cut(manifest, seconds, hop)
    assert list(found.rows) == obvious(manifest, seconds, hop)
    assert len(set(found.ids)) == len(found)
    assert sum(clip_seconds(found)) >= sum(clip_seconds(manifest)) - 1e-6 or hop > seconds


def test_ids_carry_the_start_in_the_file_and_stay_unique(tmp_path: Path) -> None:
    folder = write(tmp_path, a=40.0)
    rows = [Row("a.wav@0", folder / "a.wav", 0.0, 20.0), Row("a.wav@10", folder / "a.wav", 10.0, 30.0)]
    found = cut(Manifest(folder, rows), 10.0, 9.92)
    starts = {"a.wav@0": ("0", "9.92", "19.84"), "a.wav@10": ("10", "19.92", "29.84", "39.76")}
    assert list(found.ids) == [f"{name}@{start}" for name, several in starts.items() for start in several]
    assert found.rows[6].duration == pytest.approx(0.24)


def test_a_window_to_the_end_of_its_file_has_the_length_that_is_left(tmp_path: Path) -> None:
    folder = write(tmp_path, a=40.0)
    found = cut(Manifest(folder, [Row("end", folder / "a.wav", 25.0)]), 10.0, 10.0)
    assert [(row.start, row.duration) for row in found.rows] == [(25.0, 10.0), (35.0, 5.0)]


def test_a_file_that_cannot_be_read_keeps_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path, a=12.0)
    (folder / "b.wav").write_bytes(b"no sound")
    (folder / "c.wav").touch()
    found = cut(read_manifest(folder), 10.0, 10.0)
    assert list(found.ids) == ["a.wav@0", "a.wav@10", "b.wav", "c.wav"]
    assert [row.duration for row in found.rows] == [10.0, 2.0, None, None]
    assert [row.path.name for row in found.rows] == ["a.wav", "a.wav", "b.wav", "c.wav"]


def test_headers_are_read_once_and_only_where_the_length_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, a=12.0, b=3.0)
    opened = []
    monkeypatch.setattr(crop, "duration", lambda path, part: opened.append(path.name) or 12.0)
    rows = [Row("a", folder / "a.wav"), Row("b", folder / "b.wav", 0.0, 3.0)]
    assert len(cut(Manifest(folder, rows), 5.0, 5.0)) == 4
    assert opened == ["a.wav"]


def test_many_windows_keep_each_path_once(tmp_path: Path) -> None:
    rows = [Row(f"{n}", tmp_path / f"{'x' * 200}{n}.wav", 0.0, 3600.0) for n in range(50)]
    found = cut(Manifest(tmp_path, rows), 10.0, 9.92)
    assert len(found) == 50 * 363
    assert len(found.rows.paths.values) == 50  # type: ignore[union-attr]
    assert found.rows[363 * 49 + 1].path == rows[49].path


def test_the_table_of_windows_has_times_labels_and_splits(tmp_path: Path) -> None:
    folder = write(tmp_path / "sounds", **{"a": 12.0, "b": 3.0})
    labels = ("Male speech, man speaking", "dog")
    rows = [Row("a", folder / "a.wav", labels=labels, split="test"), Row("b", tmp_path / "sounds" / "b.wav")]
    found = cut(Manifest(folder, rows), 10.0, 9.92)
    write_windows(found, tmp_path / "windows.csv")
    with open(tmp_path / "windows.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(r["id"], r["path"], r["start"], r["end"]) for r in table] == [
        ("a@0", "a.wav", "0", "10"), ("a@9.92", "a.wav", "9.92", "12"), ("b@0", "b.wav", "0", "3"),
    ]  # fmt: skip
    assert [json.loads(row["labels"] or "[]") for row in table] == [list(labels), list(labels), []]
    assert [row["split"] for row in table] == ["test", "test", ""]


def test_the_table_names_folders_as_labels_and_keeps_the_bytes_of_names(tmp_path: Path) -> None:
    folder = write(tmp_path / "sounds" / "dogs", a=2.0).parent
    (folder / "dogs" / "a.wav").rename(str(folder / "dogs" / "\udce4.wav"))
    write_windows(cut(read_manifest(folder), 1.0, 1.0), tmp_path / "windows.csv")
    lines = (tmp_path / "windows.csv").read_bytes().splitlines()
    assert lines[1] == b'dogs/\xe4.wav@0,dogs/\xe4.wav,0,1,"[""dogs""]",'
    assert root_of(read_manifest(folder)) == folder


def test_a_single_folder_is_no_label(tmp_path: Path) -> None:
    folder = write(tmp_path, a=2.0, b=2.0)
    write_windows(cut(read_manifest(folder), 1.0, 1.0), tmp_path / "windows.csv")
    assert not read_manifest(tmp_path / "windows.csv").classes


def test_the_table_is_read_again_with_the_root_of_the_audio(tmp_path: Path) -> None:
    folder, lists = write(tmp_path / "sounds", a=2.0, b=1.5).parent, tmp_path / "lists"
    lists.mkdir()
    (lists / "clips.csv").write_text("path,label,split,domain\na.wav,dog,test,rain\nb.wav,cat,,\n")
    data = Data(lists / "clips.csv", root=folder / "sounds")
    for manifest in (read_manifest(data), read_manifest(folder / "sounds")):
        found = cut(manifest, 1.0, 0.5)
        assert root_of(found) == folder / "sounds"
        write_windows(found, lists / "windows.csv")
        again = read_manifest(Data(lists / "windows.csv", root=folder / "sounds"))
        assert again.rows == (found.labelled() if manifest.classes else found).rows
        assert again.digest == found.digest
        assert (again.rows.domains is None) == (manifest.rows.domains is None)
