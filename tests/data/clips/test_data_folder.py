"""Folders above published data sets, with one set, with several, and with other audio beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.data.clips.layouts import LAYOUTS, read_layout
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from tests.data.clips.published import trees
from tests.data.clips.published.test_listed import clips, move
from tests.data.clips.published.trees import sounds
from tests.data.clips.test_layouts import SETS


@pytest.mark.parametrize("above", ["ESC-50-master", "data/set"])
@pytest.mark.parametrize("name", SETS)
def test_the_folder_above_a_data_set_gives_its_clips(name: str, above: str, tmp_path: Path) -> None:
    root = tmp_path / above
    SETS[name][0](root)
    inside, outside = read_manifest(root), read_manifest(tmp_path)
    assert list(outside.ids) == list(inside.ids)
    assert clips(outside) == clips(inside)
    assert outside.source == root
    assert outside.notes.layout == inside.notes.layout
    assert outside.notes.remarks == (f"found in {above}/", *inside.notes.remarks)
    assert clips(read_layout(name, tmp_path)) == clips(read_layout(name, root))


def test_a_data_set_is_not_looked_for_more_than_two_levels_below(tmp_path: Path) -> None:
    trees.esc50(tmp_path / "a/b/c")
    assert read_manifest(tmp_path).notes.layout == "folder"
    with pytest.raises(UserError, match=r"meta/esc50\.csv is missing"):
        read_layout("esc50", tmp_path)


def test_files_of_the_archive_beside_a_data_set_do_not_matter(tmp_path: Path) -> None:
    trees.esc50(tmp_path / "ESC-50-master")
    (tmp_path / "ESC-50-master.zip").touch()
    sounds(tmp_path, "__MACOSX/ESC-50-master/audio/1-9-A-0.wav", "ESC-50-master/audio/._1-9-A-0.wav")
    assert read_manifest(tmp_path).notes.layout == "esc50"


def test_of_several_data_sets_all_audio_is_read_and_the_choices_are_named(tmp_path: Path) -> None:
    trees.esc50(tmp_path / "ESC-50-master")
    trees.urbansound8k(tmp_path / "UrbanSound8K")
    manifest = read_manifest(tmp_path)
    assert list(manifest.ids) == ["ESC-50-master/audio/1-9-A-0.wav", "UrbanSound8K/audio/fold10/1-3-0-0.wav"]
    line = summary_of(manifest.labelled())
    assert "no labels, no splits; read as one folder without labels and splits" in line
    assert f"--data {tmp_path}/ESC-50-master (esc50) or --data {tmp_path}/UrbanSound8K (urbansound8k)" in line
    assert read_manifest(tmp_path, "urbansound8k").rows[0].labels == ("dog_bark",)


def test_other_audio_beside_a_data_set_is_read_without_a_guess_of_labels(tmp_path: Path) -> None:
    trees.esc50(tmp_path / "ESC-50-master")
    sounds(tmp_path, "mine/1.wav", "train/2.wav", "test/3.wav")
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 4
    assert manifest.labelled().classes == ()
    assert {row.split for row in manifest.rows} == {""}
    assert f"--data {tmp_path}/ESC-50-master (esc50)" in summary_of(manifest)


def test_a_data_set_in_the_folder_itself_comes_first(tmp_path: Path) -> None:
    trees.nsynth(tmp_path)
    trees.esc50(tmp_path / "ESC-50")
    assert read_manifest(tmp_path).notes.layout == "nsynth_family"
    assert read_manifest(tmp_path, "esc50").notes.layout == "esc50"


@pytest.mark.parametrize(
    ("make", "moves", "name"),
    [
        (trees.tau2020, {"evaluation_setup": "meta/TAU/evaluation_setup", "audio": "audio.1/TAU/audio"}, "tau2020"),
        (trees.esc50, {"meta": "lists/meta", "audio": "sounds"}, "esc50"),
        (trees.voxceleb1, {"iden_split.txt": "other/iden_split.txt", "wav": "vox1_dev_wav/wav"}, "voxceleb1"),
    ],
)  # fmt: skip
def test_lists_apart_from_the_audio(make: object, moves: dict[str, str], name: str, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "official")
    root = tmp_path / "apart"
    make(root)
    move(root, moves)
    sounds(root, "more/other.wav")
    official, found = read_manifest(tmp_path / "official"), read_manifest(root)
    assert found.notes.layout == name
    assert clips(found) == clips(official)
    assert all(row.path == root / row.id and row.path.exists() for row in found.rows)
    assert "1 audio files that it does not list" in summary_of(found)


def test_lists_without_any_of_their_audio_are_no_data_set(tmp_path: Path) -> None:
    trees.esc50(tmp_path / "lists")
    (tmp_path / "lists/audio/1-9-A-0.wav").unlink()
    sounds(tmp_path, "dog/1.wav", "cat/2.wav")
    assert read_manifest(tmp_path).notes.layout == "folder"


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if len(layout.marks) > 1])
def test_a_data_set_that_lacks_a_list_is_a_folder_and_the_list_is_named(name: str, tmp_path: Path) -> None:
    SETS[name][0](tmp_path)
    marks = LAYOUTS[name].marks
    for mark in marks[1:]:
        (tmp_path / mark).rename(tmp_path / f"aside-{mark.replace('/', '-')}")
    manifest = read_manifest(tmp_path)
    if manifest.notes.layout == "folder":
        assert "is missing" in manifest.notes.remarks[-1]


def test_folds_without_their_table_are_folds_and_not_classes(tmp_path: Path) -> None:
    trees.urbansound8k(tmp_path)
    (tmp_path / "metadata/UrbanSound8K.csv").unlink()
    sounds(tmp_path, "audio/fold2/1.wav")
    manifest = read_manifest(tmp_path)
    assert sorted({row.split for row in manifest.rows}) == ["10", "2"]
    assert manifest.labelled().classes == ("audio",)


@pytest.mark.parametrize(
    ("make", "task", "message"),
    [
        (trees.first_speech_commands, "speech_commands_v2", "30 words of v0.01"),
        (trees.speech_commands, "speech_commands_v0_01", "not hold exactly the 30 words"),
        (trees.tau2022, "tau2020", "named as in 2022"),
        (trees.tau2020, "tau2022", "not named as in 2022"),
    ],
)
def test_another_version_of_a_data_set_is_named(make: object, task: str, message: str, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        read_manifest(tmp_path, task)


def test_versions_of_speech_commands(tmp_path: Path) -> None:
    words = {"v1": trees.WORDS_V1, "v2": trees.WORDS_V2, "some": ("yes", "zero"), "more": (*trees.WORDS_V1, "visual")}
    for name, spoken in words.items():
        trees.speech_commands(tmp_path / name, spoken)
    found = {name: read_manifest(tmp_path / name).notes.layout for name in words}
    v2 = "speech_commands_v2"
    assert found == {"v1": "speech_commands_v0_01", "v2": v2, "some": v2, "more": v2}
    assert read_manifest(tmp_path / "v1", "speech_commands_v1").notes.layout == "speech_commands_v1"


def test_a_list_that_is_cut_off_stays_one_line(tmp_path: Path) -> None:
    trees.tau2020(tmp_path)
    trees.table(tmp_path / "evaluation_setup/fold1_train.csv", "file\tlabel", "a\tb")
    with pytest.raises(UserError, match="not as published") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)
