"""The columns that are found by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.tables.columns import Columns, find_columns, listed, several_labels
from distill.data.errors import UserError
from tests.data.clips.written import table

KINDS = {
    "paths": ["path", "file", "filename", "file_name", "File Name", "audio", "audio_path", "AudioPath", "audio-file",
              "wav", "filepath", "fname", "Begin File", "Begin Path", " file "],
    "start": ["start", "start_time", "Start (s)", "begin_time", "Begin Time (s)", "onset", "offset", "START TIME"],
    "end": ["end", "end_time", "End (s)", "End Time (s)", "stop"],
    "duration": ["duration", "Duration (s)", "duration_seconds"],
    "label": ["label", "labels", "Label", " label", "class", "category", "species", "Species Code", "primary_label",
              "target", "tag", "tags", "common name", "event_label", "Annotation"],
    "split": ["split", "fold", "subset", "set", "Split", "Fold "],
    "domain": ["domain", "Domain "],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_a_column_is_found_by_each_of_its_names(kind: str, name: str) -> None:
    found = getattr(find_columns(Path("t.csv"), ["x", name, "y"]), kind)
    assert found in (name, (name,))
    others = {other: getattr(find_columns(Path("t.csv"), [name]), other) for other in KINDS if other != kind}
    assert not any(others.values())


@pytest.mark.parametrize(
    "name", ["ID", "Id", "start (ms)", "start_sample", "length", "label_id", "filenames", "splits"]
)
def test_other_names_are_not_guessed(name: str) -> None:
    assert find_columns(Path("t.csv"), [name]) == Columns((), None, None, None, None, None, None)


def test_of_several_columns_the_first_kind_is_read() -> None:
    header = ["species", "filename", "label", "target", "file_name", "fold", "split", "id"]
    found = find_columns(Path("t.csv"), header)
    assert found == Columns(("file_name", "filename"), None, None, None, "label", "split", "id")
    assert found.used == ("file_name", "filename", "label", "split", "id")


def test_an_offset_is_an_end_beside_an_onset() -> None:
    found = find_columns(Path("t.csv"), ["filename", "Onset", "Offset"])
    assert (found.start, found.end) == ("Onset", "Offset")
    found = find_columns(Path("t.csv"), ["filename", "offset", "duration"])
    assert (found.start, found.end, found.duration) == ("offset", None, "duration")


@pytest.mark.parametrize(
    ("header", "label", "message"),
    [
        (["file", "label", "Label"], "", "'label' and 'Label' have the same name"),
        (["file", "file", "label"], "", "'file' and 'file' have the same name"),
        (["file", "kind", "kind"], "kind", "2 columns of this name"),
        (["file", "kind"], "kinds", "no such column; the columns are file, kind"),
    ],
)
def test_columns_that_cannot_be_told_apart_are_refused(header: list[str], label: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_columns(Path("t.csv"), header, label)


def test_a_named_column_may_have_another_spelling_or_kind() -> None:
    found = find_columns(Path("t.csv"), ["file", "Set", "split", "species"], "set", "SPECIES")
    assert (found.label, found.split, found.paths) == ("Set", "species", ("file",))


@pytest.mark.parametrize(
    ("column", "several"),
    [
        ("label", False),
        ("labels", True),
        ("tags", True),
        ("tag", False),
        ("secondary_labels", True),
        ("species", False),
        ("classes", True),
    ],
)
def test_the_plural_says_that_a_cell_may_hold_several_labels(column: str, several: bool) -> None:
    assert several_labels(column) == several


def test_many_columns_are_not_all_listed() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([]) == "none"
    assert listed([str(number) for number in range(30)]).endswith("18, 19 and 10 more")


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (("label", "labels"), "labels"),
        (("category", "Label"), "Label"),
        (("species", "class", "category"), "category"),
        (("target", "species"), "species"),
        (("tags", "label", "LABELS"), "LABELS"),
    ],
)
def test_of_several_columns_of_labels_one_is_read_and_the_others_are_named(
    header: tuple[str, ...], read: str, tmp_path: Path
) -> None:
    path = table(tmp_path, "path," + ",".join(header) + "\na.wav," + ",".join(f"of {name}" for name in header) + "\n")
    manifest = read_manifest(path)
    assert manifest.classes == (f"of {read}",)
    assert manifest.notes.labels == f"column {read!r}"
    assert manifest.notes.unread_columns == tuple(name for name in header if name != read)
    other = next(name for name in header if name != read)
    assert read_manifest(Data(path, label=other)).classes == (f"of {other}",)
