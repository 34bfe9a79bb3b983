from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.published.lists import Lists, find_mark, places_of
from distill.data.errors import UserError
from tests.data.clips.published.trees import sound, table


@pytest.mark.parametrize(
    ("mark", "place"),
    [
        ("iden_split.txt", "iden_split.txt"),
        ("iden_split.txt", "meta/iden_split.txt"),
        ("eval_segments.csv", "csv/eval_segments.csv"),
        ("meta/esc50.csv", "esc50.csv"),
        ("FSD50K.ground_truth/dev.csv", "labels/dev.csv"),
        ("nsynth-test/examples.json", "nsynth-test.jsonwav/nsynth-test/examples.json"),
    ],
)
def test_a_list_is_found_at_the_places_that_people_use(mark: str, place: str, tmp_path: Path) -> None:
    table(tmp_path / place, "x")
    assert find_mark(tmp_path, mark) == tmp_path / place
    assert Lists(tmp_path).text(mark) == "x\n"
    assert places_of(mark)[0] == mark


def test_the_published_place_comes_first(tmp_path: Path) -> None:
    for place in ("esc50.csv", "meta/esc50.csv"):
        table(tmp_path / place, place)
    assert Lists(tmp_path).text("meta/esc50.csv") == "meta/esc50.csv\n"


@pytest.mark.parametrize(("file", "is_found"), [("blues.00001.wav", True), ("miles.wav", False)])
def test_a_folder_of_a_genre_is_gtzan_only_with_its_names(file: str, is_found: bool, tmp_path: Path) -> None:
    sound(tmp_path / "blues" / file)
    assert (find_mark(tmp_path, "genres/blues") is not None) == is_found


def test_a_folder_is_not_looked_for_in_other_folders() -> None:
    assert places_of("_background_noise_") == ("_background_noise_",)


def test_a_byte_order_mark_and_names_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "iden_split.txt").write_bytes(b"\xef\xbb\xbffilename,label\nx\xff,y\n")
    assert next(Lists(tmp_path).records("iden_split.txt")) == {"filename": "x\udcff", "label": "y"}


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"iden_split\.txt is missing"):
        Lists(tmp_path).path("iden_split.txt")
