"""The list of clips: classes, labels and digest."""

from __future__ import annotations

from pathlib import Path

from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from tests.data.clips.test_tables import table


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
    some = clips(Row("a/1.wav", Path("1"), labels=("dog",)), Row("a/2.wav", Path("2")))
    assert some.labelled() is some


def test_a_subset_keeps_the_source() -> None:
    one, two = Row("1", Path("1")), Row("2", Path("2"))
    part = clips(one, two).subset(row for row in (two,))
    assert (part.source, part.rows, len(part)) == (Path("x"), (two,), 1)
