"""The list of clips: classes, labels and digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from distill.data.audio.parts import Cell, Member
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import Notes
from distill.data.fingerprint import digest
from tests.data.clips.written import table


def digest_of(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    return read_manifest(table(folder, text)).digest


def test_the_digest_covers_ids_windows_and_order_but_not_the_root(tmp_path: Path) -> None:
    text = "id,path,start,duration\na,x.wav,1,2\nb,x.wav,4,2\n"
    known = digest_of(tmp_path / "here", text)
    assert digest_of(tmp_path / "there", text) == known
    for change in (
        text.replace("a,", "c,"),
        text.replace("wav,1,", "wav,0.5,"),
        text.replace("1,2", "1,3"),
        text.replace("1,2", "1,"),
        "id,path,start,duration\nb,x.wav,4,2\na,x.wav,1,2\n",
    ):
        assert digest_of(tmp_path / "here", change) != known


def clips(*rows: Row) -> Manifest:
    return Manifest(Path("x"), rows)


def test_classes_are_the_labels_that_are_present_or_annotated_in_order() -> None:
    rows = (Row("1", Path("1"), labels=("dog",)), Row("2", Path("2"), labels=("cat",), annotated=("cat", "bird")))
    assert clips(*rows).classes == ("bird", "cat", "dog")


def test_without_labels_the_folder_of_a_clip_is_its_label() -> None:
    plain = clips(Row("a/b/1.wav", Path("1")), Row("2.wav", Path("2"), split="test"))
    assert [row.labels for row in plain.labelled().rows] == [("a/b",), (".",)]
    assert plain.labelled().rows[1].split == "test"
    notes = Notes(label_of_folder={"a/b": "a", ".": "none"})
    assert Manifest(Path("x"), plain.rows, notes).labelled().classes == ("a", "none")
    some = clips(Row("a/1.wav", Path("1"), labels=("dog",)), Row("a/2.wav", Path("2")))
    assert some.labelled() is some
    table = Manifest(Path("x"), plain.rows, Notes(folder_labels=False))
    assert table.labelled().classes == ()


def test_a_subset_keeps_the_source_and_the_notes() -> None:
    one, two = Row("1", Path("1")), Row("2", Path("2"))
    part = clips(one, two).subset(row for row in (two,))
    assert (part.source, part.rows, len(part)) == (Path("x"), (two,), 1)
    noted = Manifest(Path("x"), (one, two), Notes(layout="table"))
    assert noted.subset((two,)).notes is noted.take(np.array([1])).notes is noted.notes


CLIPS = (
    Row("a/1.wav", Path("x/a/1.wav"), labels=("dog", "cat"), split="test", annotated=("dog", "cat", "bird")),
    Row("a/2.wav@1.5", Path("x/a/2.wav"), 1.5, 2.0),
    Row("caf\udce9.wav", Path("/elsewhere/caf\udce9.wav"), 0.25, labels=("dog",), split="3"),
)


def test_columns_read_as_the_rows_that_they_were_made_of() -> None:
    rows = clips(*CLIPS).rows
    assert tuple(rows) == CLIPS
    assert [rows[0], rows[-1]] == [CLIPS[0], CLIPS[2]]
    assert rows[1:] == CLIPS[1:]
    assert rows != CLIPS[:2]
    taken = clips(*CLIPS).take(np.array([2, 0]))
    assert taken.rows == (CLIPS[2], CLIPS[0])
    assert taken.classes == ("bird", "cat", "dog")
    assert taken.splits.tolist() == ["3", "test"]
    assert clips(*CLIPS).take(np.array([1])).classes == ()
    assert list(clips(*CLIPS).ids) == [row.id for row in CLIPS]


def test_paths_below_the_root_take_no_memory() -> None:
    below = Manifest(Path("/x"), [Row("a/1.wav", Path("/x/a/1.wav")), Row("2.wav", Path("/x/2.wav"))])
    assert below.rows.paths is None
    assert [row.path for row in below.rows] == [Path("/x/a/1.wav"), Path("/x/2.wav")]
    assert clips(*CLIPS).rows.paths is not None


def test_the_digest_is_that_of_the_whole_list() -> None:
    rows = [Row(f"{number}.wav", Path("1"), number / 4, None if number % 3 else 1.0) for number in range(5000)]
    assert clips(*rows).digest == digest([[row.id, row.start, row.duration] for row in rows])
    assert clips().digest == digest([])


def test_parts_stay_with_their_clips() -> None:
    part, cell = Member(512, 40), Cell("audio.bytes", 7)
    rows = (
        Row("a.tar/1.wav", Path("/x/a.tar"), part=part),
        Row("2.wav", Path("/x/2.wav")),
        Row("3", Path("/x/b"), part=cell),
    )
    manifest = clips(*rows)
    assert tuple(manifest.rows) == rows
    assert [row.part for row in manifest.take(np.array([2, 1, 0])).rows] == [cell, None, part]
    assert [row.part for row in manifest.labelled().rows] == [part, None, cell]
    assert clips(*rows[1:2]).rows.parts is None


def test_domains_stay_with_their_clips_and_take_no_memory_where_there_are_none() -> None:
    rows = (Row("1", Path("1"), domain="music"), Row("2", Path("2")), Row("3", Path("3"), domain="speech"))
    manifest = clips(*rows)
    assert tuple(manifest.rows) == rows
    assert [row.domain for row in manifest.take(np.array([2, 1])).rows] == ["speech", ""]
    assert [row.domain for row in manifest.labelled().rows] == ["music", "", "speech"]
    assert clips(rows[1]).rows.domains is None
