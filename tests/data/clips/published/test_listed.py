"""Copies of published data sets as people have them: other folders, other names, other formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from distill.data.clips.layouts import read_layout
from distill.data.clips.manifest import Manifest
from distill.data.clips.published.listed import Listed, Placing
from distill.data.clips.sources import read_manifest
from distill.data.errors import UserError
from tests.data.clips.published import trees
from tests.data.clips.published.trees import sound, sounds, table

# Name of the variant: the data set; its official tree; what is moved where (a folder's content moves to "." too).
Moves = Mapping[str, str]
VARIANTS: dict[str, tuple[str, Callable[[Path], None], Moves]] = {
    "esc50 with resampled audio": ("esc50", trees.esc50, {"audio": "audio_16k"}),
    "esc50 of kaggle": ("esc50", trees.esc50, {"meta/esc50.csv": "esc50.csv", "audio": "audio/audio"}),
    "esc50 flat": ("esc50", trees.esc50, {"meta/esc50.csv": "esc50.csv", "audio": "."}),
    "words below audio": ("speech_commands_v2", trees.speech_commands, {"yes": "audio/yes", "zero": "audio/zero"}),
    "voxceleb1 as unpacked": (
        "voxceleb1",
        trees.voxceleb1,
        {"wav/id10001": "vox1_dev_wav/wav/id10001", "wav/id10002": "vox1_test_wav/wav/id10002"},
    ),
    "voxceleb1, official parts": (
        "voxceleb1",
        trees.voxceleb1,
        {"wav/id10001": "dev/wav/id10001", "wav/id10002": "test/wav/id10002"},
    ),
    "voxceleb1, speakers at the top": ("voxceleb1", trees.voxceleb1, {"wav": "."}),
    "voxceleb1, list in meta": ("voxceleb1", trees.voxceleb1, {"iden_split.txt": "meta/iden_split.txt"}),
    "audioset, lists in metadata": (
        "audioset_20k",
        trees.audioset,
        {
            name: f"metadata/{name}"
            for name in ("class_labels_indices.csv", "balanced_train_segments.csv", "eval_segments.csv")
        },
    ),
    "fsd50k, short names": (
        "fsd50k",
        trees.fsd50k,
        {"FSD50K.dev_audio": "dev_audio", "FSD50K.eval_audio": "eval_audio", "FSD50K.ground_truth": "ground_truth"},
    ),
    "fsd50k, resampled": (
        "fsd50k",
        trees.fsd50k,
        {"FSD50K.dev_audio": "FSD50K.dev_audio_16k", "FSD50K.eval_audio": "FSD50K.eval_audio_16k"},
    ),
    "fsd50k, one part resampled": ("fsd50k", trees.fsd50k, {"FSD50K.dev_audio": "dev_16k"}),
    "fsd50k, a folder for each archive": (
        "fsd50k",
        trees.fsd50k,
        {
            f"FSD50K.{part}": f"FSD50K.{part}/FSD50K.{part}"
            for part in ("dev_audio", "eval_audio", "ground_truth")
        },
    ),
    "fsd50k of the hub": (
        "fsd50k",
        trees.fsd50k,
        {"FSD50K.dev_audio": "clips/dev", "FSD50K.eval_audio": "clips/eval", "FSD50K.ground_truth": "labels"},
    ),
    "urbansound8k flat": ("urbansound8k", trees.urbansound8k, {"audio/fold10": "audio"}),
    "urbansound8k, all in one folder": (
        "urbansound8k",
        trees.urbansound8k,
        {"audio/fold10": ".", "metadata/UrbanSound8K.csv": "UrbanSound8K.csv"},
    ),
    "urbansound8k of kaggle": (
        "urbansound8k",
        trees.urbansound8k,
        {"audio/fold10": "fold10", "metadata/UrbanSound8K.csv": "UrbanSound8K.csv"},
    ),
    "gtzan of kaggle": ("gtzan", trees.gtzan, {"genres": "Data/genres_original"}),
    "gtzan, its data folder": ("gtzan", trees.gtzan, {"genres": "genres_original"}),
    "gtzan, its genres": ("gtzan", trees.gtzan, {"genres": "."}),
    "openmic2018 flat": ("openmic2018", trees.openmic2018, {"audio/000": "audio", "audio/001": "audio"}),
    "nsynth, a folder for each archive": (
        "nsynth_pitch",
        trees.nsynth,
        {f"nsynth-{part}": f"nsynth-{part}.jsonwav/nsynth-{part}" for part in ("train", "valid", "test")},
    ),
    "nsynth, folders of the archives": (
        "nsynth_pitch",
        trees.nsynth,
        {f"nsynth-{part}": f"nsynth-{part}.jsonwav" for part in ("train", "valid", "test")},
    ),
    "magnatagatune as unpacked": ("magnatagatune", trees.magnatagatune, {"mp3": "."}),
    "magnatagatune, other folder": ("magnatagatune", trees.magnatagatune, {"mp3": "mp3_files"}),
    "tau2020, a folder for each archive": (
        "tau2020",
        trees.tau2020,
        {"audio/airport-oslo-0-0-a.wav": "TAU.audio.1/audio/airport-oslo-0-0-a.wav", "audio": "TAU.audio.2/audio"},
    ),
}  # fmt: skip


def move(root: Path, moves: Moves) -> None:
    for source, target in moves.items():
        aside = root.with_name(f"{root.name}-aside")
        os.rename(root / source, aside)
        goal = root / target
        if aside.is_dir() and goal.is_dir():
            for child in sorted(aside.iterdir()):
                os.rename(child, goal / child.name)
            aside.rmdir()
        else:
            goal.parent.mkdir(parents=True, exist_ok=True)
            os.rename(aside, goal)
        for folder in (root / source).parents:
            if folder.is_relative_to(root) and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def clips(manifest: Manifest) -> list[tuple[str, tuple[str, ...], str, float]]:
    """Return name, labels, split and start of each clip, in order."""
    return [(row.path.stem, row.labels, row.split, row.start) for row in manifest.rows]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_the_clips_labels_and_splits_of_the_published_layout(variant: str, tmp_path: Path) -> None:
    name, make, moves = VARIANTS[variant]
    make(tmp_path / "official")
    make(tmp_path / "variant")
    move(tmp_path / "variant", moves)
    official, found = read_layout(name, tmp_path / "official"), read_manifest(tmp_path / "variant")
    assert found.notes.layout == read_manifest(tmp_path / "official").notes.layout
    found = read_layout(name, tmp_path / "variant")
    assert clips(found) == clips(official)
    for row in found.rows:
        assert row.path.exists()
        assert row.path == found.source / row.id.partition("@")[0]
    assert found.notes.left_out == official.notes.left_out
    assert official.notes.remarks == ()


NAMES = (
    "{y}", "Y{y}", "{y}_30_40", "{y}_30.000_40.000", "{y}_30000_40000", "{y}_30.0_40.0", "{y}_30", "Y{y}_30_40",
    "{y}_30-40", "Y{y}_30000_40000", "{y}_000030",
)  # fmt: skip


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".au"])
@pytest.mark.parametrize("name", NAMES)
def test_names_of_audioset_files(name: str, suffix: str, tmp_path: Path) -> None:
    trees.audioset(tmp_path)
    (tmp_path / "balanced/Y-A.wav").unlink()
    file = tmp_path / "any/folder" / f"{name.format(y='-A')}{suffix}"
    file.parent.mkdir(parents=True)
    file.touch()
    manifest = read_manifest(tmp_path)
    assert [row.id for row in manifest.rows if row.split == "training"] == [file.relative_to(tmp_path).as_posix()]


def test_clips_that_must_be_converted_are_set_aside(tmp_path: Path) -> None:
    trees.audioset(tmp_path)
    (tmp_path / "balanced/Y-A.wav").rename(tmp_path / "balanced/Y-A.m4a")
    trees.esc50(tmp_path / "esc50")
    (tmp_path / "esc50/audio/1-9-A-0.wav").rename(tmp_path / "esc50/audio/1-9-A-0.m4a")
    notes = read_layout("audioset_20k", tmp_path).notes
    assert [(clip.id, clip.reason) for clip in notes.set_aside] == [("balanced/Y-A.m4a", "unsupported_format")]
    assert "ffmpeg" in notes.set_aside[0].detail
    assert notes.left_out["listed clips without a file"] == 1
    with pytest.raises(UserError, match=r"no clip of esc50 can be read.*m4a.*ffmpeg"):
        read_layout("esc50", tmp_path / "esc50")


def test_converted_audio_is_found_by_its_name(tmp_path: Path) -> None:
    trees.fsd50k(tmp_path)
    for name in ("FSD50K.dev_audio/1", "FSD50K.dev_audio/2"):
        (tmp_path / f"{name}.wav").unlink()
        sound(tmp_path / f"{name}.flac")
    ids = [row.id for row in read_layout("fsd50k", tmp_path).rows]
    assert ids == ["FSD50K.dev_audio/1.flac", "FSD50K.dev_audio/2.flac", "FSD50K.eval_audio/3.wav"]


def test_audio_that_is_not_listed_is_counted(tmp_path: Path) -> None:
    trees.audioset(tmp_path)
    left_out = {name: read_layout(name, tmp_path).notes.left_out for name in ("audioset_20k", "audioset_2m")}
    assert [counts["audio files that it does not list"] for counts in left_out.values()] == [1, 0]


def test_the_place_of_the_audio_is_said(tmp_path: Path) -> None:
    trees.esc50(tmp_path)
    move(tmp_path, {"audio": "audio_16k"})
    assert read_layout("esc50", tmp_path).notes.remarks == ("audio in audio_16k/, not at the published place",)


def test_of_two_files_with_one_name_the_published_one_is_read_or_the_first(tmp_path: Path) -> None:
    trees.esc50(tmp_path)
    sounds(tmp_path, "audio/16000/1-9-A-0.wav", "a/1-9-A-0.wav")
    assert [row.id for row in read_layout("esc50", tmp_path).rows] == ["audio/1-9-A-0.wav"]
    (tmp_path / "audio/1-9-A-0.wav").unlink()
    assert [row.id for row in read_layout("esc50", tmp_path).rows] == ["a/1-9-A-0.wav"]


def test_a_listed_clip_without_a_file_keeps_its_published_place(tmp_path: Path) -> None:
    """It is then set aside as missing, with its name."""
    sounds(tmp_path, "other/a.wav")
    listed = [Listed("audio/a.wav", ("x",), "1"), Listed("audio/b.wav", ("x",), "1")]
    assert [row.id for row in Placing(tmp_path).rows(listed)] == ["other/a.wav", "audio/b.wav"]
    placing = Placing(tmp_path, anywhere=True)
    assert [row.id for row in placing.rows(listed)] == ["other/a.wav"]
    assert placing.absent == 1


def test_the_depth_says_how_many_names_identify_a_clip(tmp_path: Path) -> None:
    sounds(tmp_path, "x/f/1.wav", "x/g/1.wav")
    listed = [Listed("mp3/g/1.mp3", (), "")]
    assert [row.id for row in Placing(tmp_path, depth=2).rows(listed)] == ["x/g/1.wav"]


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/passwd", "audio/../../secret.wav"])
def test_a_name_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    trees.tau2020(tmp_path / "tau")
    sound(tmp_path / "secret.wav")
    table(tmp_path / "tau/evaluation_setup/fold1_train.csv", "filename\tscene_label", f"{name}\tairport")
    with pytest.raises(UserError, match="outside"):
        read_layout("tau2020", tmp_path / "tau")


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path: Path) -> None:
    listed = [Listed(f"audio/{'x' * 300}.wav", (), "1"), Listed("audio/a\0b.wav", (), "2")]
    assert len(list(Placing(tmp_path).rows(listed))) == 2
