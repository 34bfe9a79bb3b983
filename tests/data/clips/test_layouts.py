"""Each data set, as a small folder in its exact layout."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.clips.layouts import LAYOUTS, find_layout, read_layout
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError


def sound(path: Path, seconds: float = 0.1, rate: int = 8_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".mp3": "MP3", ".ogg": "OGG", ".au": "AU"}.get(path.suffix, "WAV")
    soundfile.write(path, np.zeros(int(seconds * rate)), rate, format=kind)


def table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def esc50(root: Path) -> None:
    table(root / "meta/esc50.csv", "filename,fold,target,category,esc10,src_file,take", "1-9-A-0.wav,1,0,dog,True,9,A")
    sound(root / "audio/1-9-A-0.wav")


def speech_commands(root: Path) -> None:
    for word in ("yes", "zero"):
        for speaker in ("a", "b", "c"):
            sound(root / word / f"{speaker}_nohash_0.wav")
    sound(root / "_background_noise_/pink.wav", seconds=10)
    table(root / "validation_list.txt", "yes/b_nohash_0.wav")
    table(root / "testing_list.txt", "yes/c_nohash_0.wav", "zero/c_nohash_0.wav")


def voxceleb1(root: Path) -> None:
    table(root / "iden_split.txt", "1 id10001/x/00001.wav", "3 id10002/y/00001.wav", "2 id10002/y/00002.wav")
    sound(root / "wav/id10001/x/00001.wav")
    sound(root / "wav/id10002/y/00001.wav")  # the third clip has no file


def audioset(root: Path) -> None:
    head = ("# Segments csv", "# num_ytids=1", "# YTID, start_seconds, end_seconds, positive_labels")
    table(
        root / "class_labels_indices.csv",
        "index,mid,display_name",
        '0,/m/09x0r,"Speech"',
        '137,/m/04rlf,"Music"',
        '506,/t/dd00088,"Gush"',
    )
    table(root / "balanced_train_segments.csv", *head, '-A, 30.000, 40.000, "/m/09x0r,/t/dd00088"')
    table(root / "unbalanced_train_segments.csv", *head, 'B, 0.000, 10.000, "/m/09x0r"')
    table(root / "eval_segments.csv", *head, 'C, 5.000, 15.000, "/m/04rlf"', 'D, 0.000, 10.000, "/m/04rlf"')
    for name in ("balanced/Y-A.wav", "audio/B.flac", "eval/C_5_15.wav"):
        sound(root / name)


def fsd50k(root: Path) -> None:
    truth = root / "FSD50K.ground_truth"
    table(truth / "dev.csv", "fname,labels,mids,split", '1,"Bark,Dog","/a,/b",train', "2,Rain,/c,val")
    table(truth / "eval.csv", "fname,labels,mids", "3,Rain,/c")
    table(truth / "vocabulary.csv", "0,Bark,/a", "1,Dog,/b", "2,Rain,/c")
    for name in ("FSD50K.dev_audio/1.wav", "FSD50K.dev_audio/2.wav", "FSD50K.eval_audio/3.wav"):
        sound(root / name)


def urbansound8k(root: Path) -> None:
    head = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    table(root / "metadata/UrbanSound8K.csv", head, "1-3-0-0.wav,1,0,4,1,10,3,dog_bark")
    sound(root / "audio/fold10/1-3-0-0.wav")


def gtzan(root: Path) -> None:
    for name in ("blues/blues.00029.wav", "jazz/jazz.00026.au", "jazz/jazz.00054.wav", "rock/rock.99999.wav"):
        sound(root / "genres" / name)


def openmic2018(root: Path) -> None:
    relevances = ("000046_3840,accordion,0.9,3", "000046_3840,banjo,0.1,3", "001000_0,bass,0.8,4")
    table(root / "openmic-2018-aggregated-labels.csv", "sample_key,instrument,relevance,num_responses", *relevances)
    table(root / "partitions/split01_train.csv", "000046_3840")
    table(root / "partitions/split01_test.csv", "001000_0")
    for key in ("000046_3840", "001000_0"):
        sound(root / "audio" / key[:3] / f"{key}.ogg")


def nsynth(root: Path) -> None:
    for part in ("train", "valid", "test"):
        name = f"bass_{part}_000-030-050"
        sound(root / f"nsynth-{part}/audio/{name}.wav")
        note = {"instrument_family_str": "bass", "pitch": 30}
        (root / f"nsynth-{part}/examples.json").write_text(json.dumps({name: note}))


def magnatagatune(root: Path) -> None:
    table(
        root / "annotations_final.csv",
        "clip_id\tguitar\tslow\tmp3_path",
        "2\t1\t0\tf/x.mp3",
        "6\t1\t1\t0/y.mp3",
        "7\t0\t0\tc/z.mp3",
    )
    for name in ("f/x.mp3", "0/y.mp3", "c/z.mp3"):
        sound(root / "mp3" / name)


def tau2020(root: Path) -> None:
    head, clip = "filename\tscene_label", "audio/airport-barcelona-0-0-a.wav"
    table(root / "evaluation_setup/fold1_train.csv", head, f"{clip}\tairport")
    table(root / "evaluation_setup/fold1_evaluate.csv", head, "audio/bus-paris-1-1-b.wav\tbus")
    sound(root / clip)
    sound(root / "audio/bus-paris-1-1-b.wav")


# Function that writes the folder; clips of each split or fold; labels of one of the clips.
SETS: dict[str, tuple[Callable[[Path], None], dict[str, int], tuple[str, ...]]] = {
    "esc50": (esc50, {"1": 1}, ("dog",)),
    "speech_commands_v2": (speech_commands, {"training": 3, "validation": 1, "test": 2}, ("zero",)),
    "speech_commands_v1": (speech_commands, {"training": 11, "validation": 2, "test": 3}, ("_unknown_",)),
    "voxceleb1": (voxceleb1, {"training": 1, "test": 1}, ("id10002",)),
    "audioset_20k": (audioset, {"training": 1, "test": 1}, ("/m/09x0r", "/t/dd00088")),
    "audioset_2m": (audioset, {"training": 2, "test": 1}, ("/m/04rlf",)),
    "fsd50k": (fsd50k, {"training": 1, "validation": 1, "test": 1}, ("Bark", "Dog")),
    "urbansound8k": (urbansound8k, {"10": 1}, ("dog_bark",)),
    "gtzan": (gtzan, {}, ("jazz",)),
    "openmic2018": (openmic2018, {"training": 1, "test": 1}, ("accordion",)),
    "nsynth_family": (nsynth, {"training": 1, "validation": 1, "test": 1}, ("bass",)),
    "nsynth_pitch": (nsynth, {"training": 1, "validation": 1, "test": 1}, ("30",)),
    "magnatagatune": (magnatagatune, {"training": 1, "validation": 1, "test": 1}, ("guitar", "slow")),
    "tau2020": (tau2020, {"training": 1, "test": 1}, ("airport",)),
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
    ("name", "message"),
    [("voxceleb1", "1 of 3 listed"), ("audioset_20k", "1 of 3"), ("audioset_2m", "1 of 4"), ("esc50", "")],
)
def test_listed_clips_without_a_file_are_counted(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SETS[name][0](tmp_path)
    read_layout(name, tmp_path)
    output = capsys.readouterr().out
    assert message in output if message else output == ""


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
    gtzan(tmp_path)
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
    openmic2018(tmp_path)
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
