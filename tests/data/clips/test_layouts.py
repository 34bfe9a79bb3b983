"""Each data set, as a small folder in its exact layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.data.clips.layouts import LAYOUTS, find_layout, read_layout
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from tests.data.clips.published import trees
from tests.data.clips.published.trees import table

# Function that writes the folder; clips of each split or fold; labels of one of the clips.
SETS: dict[str, tuple[Callable[[Path], None], dict[str, int], tuple[str, ...]]] = {
    "esc50": (trees.esc50, {"1": 1}, ("dog",)),
    "speech_commands_v2": (trees.speech_commands, {"training": 3, "validation": 1, "test": 2}, ("zero",)),
    "speech_commands_v1": (trees.speech_commands, {"training": 11, "validation": 2, "test": 3}, ("_unknown_",)),
    "voxceleb1": (trees.voxceleb1, {"training": 1, "test": 1}, ("id10002",)),
    "audioset_20k": (trees.audioset, {"training": 1, "test": 1}, ("/m/09x0r", "/t/dd00088")),
    "audioset_2m": (trees.audioset, {"training": 2, "test": 1}, ("/m/04rlf",)),
    "fsd50k": (trees.fsd50k, {"training": 1, "validation": 1, "test": 1}, ("Bark", "Dog")),
    "urbansound8k": (trees.urbansound8k, {"10": 1}, ("dog_bark",)),
    "gtzan": (trees.gtzan, {}, ("jazz",)),
    "openmic2018": (trees.openmic2018, {"training": 1, "test": 1}, ("accordion",)),
    "nsynth_family": (trees.nsynth, {"training": 1, "validation": 1, "test": 1}, ("bass",)),
    "nsynth_pitch": (trees.nsynth, {"training": 1, "validation": 1, "test": 1}, ("30",)),
    "magnatagatune": (trees.magnatagatune, {"training": 1, "validation": 1, "test": 1}, ("guitar", "slow")),
    "tau2020": (trees.tau2020, {"training": 1, "test": 1}, ("airport",)),
    "tau2022": (trees.tau2022, {"training": 1, "test": 1}, ("bus",)),
    "speech_commands_v0_01": (
        trees.first_speech_commands,
        {"training": 87, "validation": 1, "test": 2},
        ("marvin",),
    ),
}


def test_every_layout_is_tested() -> None:
    assert set(SETS) == set(LAYOUTS)


@pytest.mark.parametrize("name", SETS)
def test_splits_and_labels(name: str, tmp_path: Path) -> None:
    make, splits, labels = SETS[name]
    make(tmp_path)
    manifest = read_layout(name, tmp_path)
    if splits:
        assert Counter(row.split for row in manifest.rows) == splits
    assert labels in {row.labels for row in manifest.rows}
    assert all(row.path.exists() for row in manifest.rows)
    assert len({row.id for row in manifest.rows}) == len(manifest)
    found = find_layout(tmp_path)
    assert found is not None
    assert SETS[found][0] is make
    assert len(read_manifest(tmp_path)) > 0


@pytest.mark.parametrize("name", SETS)
def test_the_error_for_another_folder_names_the_missing_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is missing") as caught:
        read_layout(name, tmp_path)
    assert LAYOUTS[name].marks[0] in str(caught.value)
    assert "--task auto" in str(caught.value)
    assert find_layout(tmp_path) is None


@pytest.mark.parametrize("name", SETS)
def test_a_set_of_which_a_list_is_missing_is_refused(name: str, tmp_path: Path) -> None:
    """Without its test list, a data set would be scored on other clips."""
    for mark in LAYOUTS[name].marks:
        root = tmp_path / mark.replace("/", "_")
        SETS[name][0](root)
        (root / mark).rename(root / "elsewhere")
        with pytest.raises(UserError, match=f"{mark} is missing"):
            read_layout(name, root)


@pytest.mark.parametrize(
    ("name", "absent"), [("voxceleb1", 1), ("audioset_20k", 1), ("audioset_2m", 1), ("gtzan", 930 - 3), ("esc50", 0)]
)
def test_listed_clips_without_a_file_are_counted(name: str, absent: int, tmp_path: Path) -> None:
    SETS[name][0](tmp_path)
    manifest = read_layout(name, tmp_path)
    assert manifest.notes.left_out["listed clips without a file"] == absent
    assert (f"left out: {absent} listed clips" in summary_of(manifest)) == bool(absent)


@pytest.mark.parametrize(
    ("name", "list_of_labels"),
    [("fsd50k", "FSD50K.ground_truth/vocabulary.csv"), ("audioset_20k", "class_labels_indices.csv")],
)
def test_a_label_that_is_missing_from_the_vocabulary_is_named(name: str, list_of_labels: str, tmp_path: Path) -> None:
    SETS[name][0](tmp_path)
    lines = (tmp_path / list_of_labels).read_text().splitlines()
    table(tmp_path / list_of_labels, *lines[:-1])
    missing = lines[-1].split(",")[1]
    with pytest.raises(UserError, match=rf"the label '{missing}' is not in {Path(list_of_labels).name}"):
        read_layout(name, tmp_path)


def test_clips_of_gtzan_that_the_filtered_lists_leave_out(tmp_path: Path) -> None:
    trees.gtzan(tmp_path)
    assert "rock.99999" not in {row.path.stem for row in read_layout("gtzan", tmp_path).rows}


def test_gtzans_split_is_the_published_one(tmp_path: Path) -> None:
    from torchaudio.datasets import gtzan as published

    names = {
        "training": published.filtered_train,
        "validation": published.filtered_valid,
        "test": published.filtered_test,
    }
    for clip in (name for part in names.values() for name in part):
        (path := tmp_path / "genres" / clip.partition(".")[0] / f"{clip}.wav").parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    rows = read_layout("gtzan", tmp_path).rows
    for split, clips in names.items():
        assert {row.path.stem for row in rows if row.split == split} == set(clips)
    assert len(rows) == 443 + 197 + 290


def test_openmic_rows_hold_the_annotated_labels(tmp_path: Path) -> None:
    trees.openmic2018(tmp_path)
    first, second = read_layout("openmic2018", tmp_path).rows
    assert first.annotated == ("accordion", "banjo")
    assert first.labels == ("accordion",)
    assert second.annotated == second.labels == ("bass",)


def test_lists_without_audio_and_lists_that_lead_outside(tmp_path: Path) -> None:
    table(tmp_path / "a/iden_split.txt", "1 id10001/x/00001.wav")
    with pytest.raises(UserError, match="none of its audio"):
        read_layout("voxceleb1", tmp_path / "a")
    table(tmp_path / "b/meta/esc50.csv", "filename,fold,target,category", "../../secret.wav,1,0,dog")
    with pytest.raises(UserError, match="outside"):
        read_layout("esc50", tmp_path / "b")
