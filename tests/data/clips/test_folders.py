from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from distill.data.clips.folders import list_files, read_folder
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def ids(root: Path) -> list[str]:
    return list(read_manifest(root).ids)


def yesterday(root: Path) -> list[Row]:
    """Return the rows of a folder as versions before this one listed them."""
    rows = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in (".wav", ".flac", ".mp3") and not name.startswith("."):
                path = Path(folder, name)
                rows.append(Row(id=path.relative_to(root).as_posix(), path=path))
    return rows


def test_ids_order_and_digest_are_those_of_yesterday(tmp_path: Path) -> None:
    touch(
        tmp_path, "b/2.wav", "b/10.wav", "b.wav", "B/1.WAV", "b/c/1.mp3", "b-c/1.flac", "b/.wav", "notes.txt",
        "a.wav.txt", "b/é.wav", "b/ü b/x.wav", "10.wav", "train/1.wav", "test/1.wav",
    )  # fmt: skip
    found, old = read_manifest(tmp_path), Manifest(tmp_path, yesterday(tmp_path))
    assert list(found.ids) == list(old.ids)
    assert found.digest == old.digest
    assert [row.path for row in found.rows] == [row.path for row in old.rows]
    assert found.rows.paths is None


def test_every_readable_suffix_is_audio_and_every_other_is_set_aside(tmp_path: Path) -> None:
    readable = [f"x{suffix}" for suffix in sorted(AUDIO_SUFFIXES)]
    others = [f"y{suffix.upper()}" for suffix in sorted(CONVERTIBLE_SUFFIXES)]
    manifest = read_manifest(touch(tmp_path, *readable, *others, "z.txt", "wav", "z."))
    assert list(manifest.ids) == sorted(readable)
    aside = list(manifest.notes.set_aside)
    assert [clip.id for clip in aside] == sorted(others)
    assert {clip.reason for clip in aside} == {"unsupported_format"}
    assert all(f"ffmpeg -i {tmp_path / clip.id} " in clip.detail for clip in aside)
    assert f"left out: {len(others)} unsupported_format" in summary_of(manifest)


def test_what_is_set_aside_reads_like_a_tuple(tmp_path: Path) -> None:
    aside = read_manifest(touch(tmp_path, "x.wav", "1.m4a", "2.m4a", "3.aac")).notes.set_aside
    assert isinstance(aside, Sequence)
    assert len(aside) == 3
    assert aside[-1].id == "3.aac"
    assert [clip.id for clip in aside[:2]] == ["1.m4a", "2.m4a"]
    with pytest.raises(IndexError):
        aside[3]


def test_files_that_no_user_made_are_left_out_without_a_word(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.wav", "a/._1.wav", "a/.DS_Store", "__MACOSX/a/1.wav", "a/__MACOSX/2.wav", ".hidden/1.wav",
        "a/Thumbs.db", "a/desktop.ini", "@eaDir/1.wav", "a/.1.m4a", "__MACOSX/a/1.m4a",
    )  # fmt: skip
    manifest = read_manifest(tmp_path)
    assert list(manifest.ids) == ["a/1.wav"]
    assert summary_of(manifest) == f"data: folder {tmp_path}: 1 clips, no labels, no splits"


def test_a_hidden_root_is_read(tmp_path: Path) -> None:
    assert ids(touch(tmp_path / ".cache" / "sounds", "1.wav")) == ["1.wav"]


def test_links_to_files_and_folders_are_followed_once(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/1.wav")
    touch(tmp_path / "big", "2.wav", "sub/3.wav")
    (root / "big").symlink_to(tmp_path / "big")
    (root / "again").symlink_to(tmp_path / "big")
    (root / "4.wav").symlink_to(tmp_path / "big" / "2.wav")
    assert ids(root) == ["4.wav", "a/1.wav", "again/2.wav", "again/sub/3.wav"]
    assert "left out: 1 links to folders that are listed already" in summary_of(read_manifest(root))


@pytest.mark.parametrize(
    ("link", "target"),
    [("a/up", "."), ("a/self", "a"), ("a/above", ".."), ("a/sibling", "b"), ("loop.wav", "loop.wav"), ("loop", "loop")],
)
def test_links_that_lead_back_end(link: str, target: str, tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a/1.wav", "b/2.wav")
    (root / link).symlink_to(root / target)
    assert [name for name in ids(root) if name != "loop.wav"] == ["a/1.wav", "b/2.wav"]


def test_links_that_lead_back_outside_of_the_root_end(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "1.wav")
    touch(tmp_path / "far", "2.wav", "deep/3.wav")
    (tmp_path / "far" / "deep" / "back").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "home").symlink_to(root)
    (root / "far").symlink_to(tmp_path / "far")
    assert ids(root) == ["1.wav", "far/2.wav", "far/deep/3.wav"]


@pytest.mark.parametrize("name", [b"a\nb.wav", b"a\xff.wav", b"\xe9t\xe9/x.wav", b"a\tb\x1b[0m.wav", b" .wav"])
def test_any_file_name_is_kept(name: bytes, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb"):
        pass
    manifest = read_manifest(tmp_path)
    assert [os.fsencode(clip_id) for clip_id in manifest.ids] == [name]
    assert [os.fsencode(row.path) for row in manifest.labelled().rows] == [path]
    assert "\n" not in summary_of(manifest.labelled())


def test_a_folder_that_cannot_be_opened_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.wav", "locked/2.wav")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    manifest = read_manifest(tmp_path)
    assert list(manifest.ids) == ["a/1.wav"]
    assert [(clip.id, clip.reason) for clip in manifest.notes.set_aside] == [("locked", "permission")]
    with pytest.raises(UserError, match=r"cannot be opened \(Permission denied\)"):
        list_files(tmp_path / "locked")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), r"no audio in it \(looked for .*\.wav"),
        (("notes.txt",), r"no audio in it \(looked for"),
        (("1.m4a", "2.M4A", "3.wma"), r"no audio in it that can be read, but 2 \.m4a, 1 \.wma; .*ffmpeg -i"),
    ],
)
def test_a_folder_without_audio_is_refused(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(touch(tmp_path, *names))
    assert "\n" not in str(caught.value)


def test_splits_and_labels_of_folders(tmp_path: Path) -> None:
    manifest = read_manifest(touch(tmp_path, "train/dog/1.wav", "train/cat/2.wav", "test/dog/3.wav", "val/cat/4.wav"))
    assert [row.split for row in manifest.rows] == ["test", "training", "training", "validation"]
    assert [row.labels for row in manifest.labelled().rows] == [("dog",), ("cat",), ("dog",), ("cat",)]
    assert list(manifest.labelled().ids) == list(manifest.ids)
    line = summary_of(manifest.labelled())
    assert "4 clips, 2 classes (the names of the folders), splits: test 1, training 2, validation 1" in line
    assert line.endswith("the splits are folders: test (test), train (training), val (validation)")


def test_a_folder_that_is_unlabelled_has_neither_labels_nor_splits(tmp_path: Path) -> None:
    manifest = read_folder(list_files(touch(tmp_path, "train/dog/1.wav", "test/cat/2.wav")), unlabelled=True)
    assert manifest.labelled().classes == ()
    assert {row.split for row in manifest.rows} == {""}


def test_a_large_folder_takes_few_objects(tmp_path: Path) -> None:
    """Rows are made when they are read: the columns of 2,000 clips have no object for each."""
    rows = read_manifest(touch(tmp_path, *(f"{number % 10}/{number}.wav" for number in range(2000)))).rows
    assert (rows.paths, len(rows.labels.values), len(rows.splits.values)) == (None, 1, 1)
