"""Files that must lie in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from distill.data.clips import containment
from distill.data.clips.containment import Folder


@pytest.fixture(params=[1, 1000], ids=["listed", "one by one"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(containment, "_FEW", request.param)
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "a.wav").touch()
    (tmp_path / "secret.wav").touch()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a.wav", True),
        ("none.wav", True),
        ("none/there.wav", True),
        ("inner/../a.wav", True),
        ("inner/..", True),
        ("./a.wav", True),
        ("", True),
        ("../data/a.wav", True),
        ("../secret.wav", False),
        ("..", False),
        ("inner/../..", False),
        ("none/../../secret.wav", False),
        ("/etc/passwd", False),
        ("/", False),
        ("../database/a.wav", False),
        ("a/" * 1500 + "a.wav", True),
        ("../" * 1500 + "a.wav", False),
        ("x" * 300 + "/a.wav", True),
    ],
)
def test_where_a_file_lies(name: str, inside: bool, root: Path) -> None:
    assert Folder(root).outside([name]) == ([] if inside else [0])
    assert Folder(root).outside(["a.wav", name, name, "b.wav"]) == ([] if inside else [1, 2])


def test_links_are_resolved(root: Path) -> None:
    (root / "out.wav").symlink_to(root.parent / "secret.wav")
    (root / "in.wav").symlink_to(root / "a.wav")
    (root / "up").symlink_to(root.parent)
    (root / "here").symlink_to(root)
    (root / "loop").symlink_to(root / "loop")
    names = ["out.wav", "in.wav", "up/secret.wav", "up/data/a.wav", "here/a.wav", "here/out.wav", "a.wav", "loop"]
    assert Folder(root).outside(names) == [0, 2, 5]
    assert Folder(root).outside(names * 100)[:6] == [0, 2, 5, 8, 10, 13]
    folder = Folder(root)
    assert [folder.outside(names) for _ in range(3)] == [
        [0, 2, 5]
    ] * 3  # what is kept from the first call serves the next


def test_absolute_names_inside_are_inside(root: Path) -> None:
    assert Folder(root).outside([f"{root}/a.wav", f"{root}/../secret.wav"]) == [1]
    assert Folder(Path(os.path.relpath(root))).outside([f"{root}/a.wav", "b.wav"]) == []


def test_links_to_the_blobs_of_a_hub_cache_are_inside(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--me--sounds"
    snapshot = repository / "snapshots" / "abc"
    (snapshot / "audio").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "sha").touch()
    (repository / "refs").touch()
    for name, target in (("a", "blobs/sha"), ("b", "refs"), ("c", "../other")):
        (snapshot / "audio" / name).symlink_to(f"../../../{target}")
    for root, prefix in ((snapshot, "audio/"), (snapshot / "audio", "")):
        assert Folder(root).outside([f"{prefix}{name}" for name in "abc"]) == [1, 2]
    plain = tmp_path / "me"
    (plain / "snapshots" / "abc").mkdir(parents=True)
    (plain / "snapshots" / "abc" / "a").symlink_to(repository / "blobs" / "sha")
    assert Folder(plain / "snapshots" / "abc").outside(["a"]) == [0]
