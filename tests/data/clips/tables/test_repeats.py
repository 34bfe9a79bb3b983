"""Rows that repeat a clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from tests.data.clips.written import table


def test_rows_of_one_window_are_one_clip_with_all_labels(tmp_path: Path) -> None:
    text = "path,start,end,label\na.wav,1,2,dog\nb.wav,1,2,cat\na.wav,1,2,bird\na.wav,1,2,dog\nb.wav,1,2,cat\n"
    manifest = read_manifest(table(tmp_path, text))
    assert [(row.id, row.labels) for row in manifest.rows] == [("a.wav@1", ("dog", "bird")), ("b.wav@1", ("cat",))]
    assert manifest.classes == ("bird", "cat", "dog")
    assert "3 rows repeat a clip: their labels are joined" in summary_of(manifest)


def test_equal_rows_are_counted(tmp_path: Path) -> None:
    manifest = read_manifest(table(tmp_path, "path,label\na.wav,x\nb.wav,y\na.wav,x\n"))
    assert list(manifest.ids) == ["a.wav", "b.wav"]
    assert "1 rows repeat a clip" in manifest.notes.remarks


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_windows_of_one_start_get_ids_of_their_own(order: tuple[int, ...], tmp_path: Path) -> None:
    lines = ["a.wav,1,2,w", "a.wav,1,3.5,x", "a.wav,1,,y", "b.wav,1,2,z"]
    text = "path,start,end,label\n" + "\n".join(lines[number] for number in order)
    labels = {row.id: row.labels for row in read_manifest(table(tmp_path, text)).rows}
    assert labels == {"a.wav@1-2": ("w",), "a.wav@1-3.5": ("x",), "a.wav@1-": ("y",), "b.wav@1": ("z",)}


def test_starts_that_differ_in_the_seventh_digit_get_ids_of_their_own(tmp_path: Path) -> None:
    text = "path,start,duration\n" + "".join(f"day.wav,{second},0.5\n" for second in (36000.12, 36000.14, 36000.11))
    ids = list(read_manifest(table(tmp_path, text)).ids)
    assert ids == ["day.wav@36000.12-36000.62", "day.wav@36000.14-36000.64", "day.wav@36000.11-36000.61"]


def test_a_clip_in_two_domains_stays_in_the_first(tmp_path: Path) -> None:
    text = "path,label,domain\na.wav,x,music\na.wav,y,speech\na.wav,z,music\n"
    manifest = read_manifest(table(tmp_path, text))
    assert [(row.labels, row.domain) for row in manifest.rows] == [(("x", "z"), "music")]
    assert manifest.notes.set_aside[0].detail == "line 3: the clip of line 2 in another domain"


def test_a_clip_in_two_splits_stays_in_the_first(tmp_path: Path) -> None:
    text = "path,label,split\na.wav,x,train\na.wav,y,test\na.wav,z,train\n"
    manifest = read_manifest(table(tmp_path, text))
    assert [(row.labels, row.split) for row in manifest.rows] == [(("x", "z"), "training")]
    (aside,) = manifest.notes.set_aside
    assert (aside.id, aside.reason) == ("a.wav", "repeated")
    assert aside.detail == "line 3: the clip of line 2 in another split"


def test_equal_ids_of_one_clip_are_joined(tmp_path: Path) -> None:
    text = "id,path,start,end,label\nx,a.wav,0,1,dog\nx,a.wav,0,1,cat\n"
    rows = read_manifest(table(tmp_path, text)).rows
    assert [(row.id, row.labels) for row in rows] == [("x", ("dog", "cat"))]
