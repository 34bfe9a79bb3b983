"""Data at addresses are read like data of this machine. `memory://` stands for a bucket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import numpy as np
import pytest

from distill.data.audio import remote
from distill.data.audio.read import read
from distill.data.audio.remote import Address
from distill.data.clips.containers import index
from distill.data.clips.containers.scanning import scan
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.stamps import FileStates
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from tests.data.clips.containers.tars import samples, sound, write_tar

SOUND = sound(300)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def put(bucket: fsspec.AbstractFileSystem, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        bucket.pipe_file(f"/b/set/{name}", content)


def tar(folder: Path, members: Mapping[str, bytes | str]) -> bytes:
    return write_tar(folder / "x.tar", dict(members)).read_bytes()


def check(manifest: Manifest, ids: list[str]) -> None:
    assert list(manifest.ids) == ids
    for row in manifest.rows:
        assert isinstance(row.path, Address)
        assert np.array_equal(read(row.path, part=row.part)[0], samples(SOUND))


def test_a_folder_of_audio(bucket: fsspec.AbstractFileSystem) -> None:
    names = ["train/cat/1.flac", "test/cat/2.flac", "train/dog/3.flac", ".hidden/x.flac", "notes.txt", "y.m4a"]
    put(bucket, dict.fromkeys(names, SOUND))
    for address in ("memory://b/set", "memory://b/set/"):
        manifest = read_manifest(address).labelled()
        check(manifest, ["test/cat/2.flac", "train/cat/1.flac", "train/dog/3.flac"])
        assert manifest.splits.tolist() == ["test", "training", "training"]
        assert [row.labels for row in manifest.rows] == [("cat",), ("cat",), ("dog",)]
    assert summary_of(manifest).startswith(
        "data: folder memory://b/set: 3 clips, 2 classes (the names of the folders), splits: test 1, training 2; "
        "left out: 1 unsupported_format"
    )


def test_tars(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    content = tar(tmp_path, {"a.flac": SOUND, "a.json": '{"label": "dog"}', "../b.flac": SOUND})
    put(bucket, {"train-0.tar": content, "test-0.tar": content, "packed.tar.gz": b"\x1f\x8b" + bytes(600)})
    manifest = read_manifest("memory://b/set")
    check(manifest, ["test-0.tar/a.flac", "train-0.tar/a.flac"])
    assert summary_of(manifest).startswith(
        "data: 2 tars in memory://b/set: 2 clips, 1 classes ('label' beside the sounds), splits: test 1, training 1; "
        "left out: 1 unreadable_tar, 2 outside"
    )
    one = read_manifest("memory://b/set/train-0.tar")
    check(one, ["a.flac"])
    assert summary_of(one).startswith("data: tar memory://b/set/train-0.tar: 1 clips, 1 classes")


def test_a_table_of_audio_at_the_same_place(bucket: fsspec.AbstractFileSystem) -> None:
    lines = b"path,label,split\n1.flac,dog,train\nx/2.flac,cat,test\n../3.flac,cat,test\n/etc/4.flac,cat,test\n"
    put(bucket, {"list.csv": lines, "1.flac": SOUND, "x/2.flac": SOUND, "audio/1.flac": SOUND, "audio/x/2.flac": SOUND})
    manifest = read_manifest("memory://b/set/list.csv")
    check(manifest, ["1.flac", "x/2.flac"])
    assert [str(row.path) for row in manifest.rows] == ["memory://b/set/1.flac", "memory://b/set/x/2.flac"]
    assert [clip.reason for clip in manifest.notes.set_aside] == ["outside", "outside"]
    assert "2 clips, 2 classes (column 'label'), splits: test 1, training 1" in summary_of(manifest)
    apart = read_manifest(Data("memory://b/set/list.csv", root="memory://b/set/audio"))
    assert [str(row.path) for row in apart.rows] == ["memory://b/set/audio/1.flac", "memory://b/set/audio/x/2.flac"]


def test_a_table_of_this_machine_lists_audio_at_an_address(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    put(bucket, {"1.flac": SOUND})
    (tmp_path / "list.csv").write_text("path,label\n1.flac,dog\n")
    check(read_manifest(Data(tmp_path / "list.csv", root="memory://b/set")), ["1.flac"])


@pytest.mark.parametrize(
    ("files", "address", "message"),
    [
        ({}, "memory://b/none", "must be a folder of audio or tars, a tar, or a table"),
        ({"a.docx": b"x"}, "memory://b/set", "no audio in it"),
        ({"a.docx": b"x"}, "memory://b/set/a.docx", "must be a folder of audio or tars, a tar, or a table"),
        ({"a.parquet": b"x"}, "memory://b/set", "Parquet files must be downloaded first"),
        ({"a.tar": b"\x1f\x8b" + bytes(600)}, "memory://b/set/a.tar", "compressed by gzip"),
        (
            {"a.tar": b"x" * 600, "b.tar": b"y" * 600},
            "memory://b/set",
            r"a.tar: not a tar \(none of 2 tars",
        ),
        ({"a.csv": b"path\n\0\n"}, "memory://b/set/a.csv", "holds NUL"),
        ({"a.csv": b""}, "memory://b/set/a.csv", "a.csv"),
        ({}, "nosuch://b/set", "nosuch"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    files: Mapping[str, bytes], address: str, message: str, bucket: fsspec.AbstractFileSystem
) -> None:
    put(bucket, files)
    with pytest.raises(UserError, match=message) as error:
        read_manifest(address)
    assert "\n" not in str(error.value)
    assert "/tmp" not in str(error.value)


def test_a_task_is_refused_for_an_address() -> None:
    with pytest.raises(UserError, match="must be auto for an address"):
        read_manifest("memory://b/set", "esc50")


def test_a_server_that_refuses_is_one_line(bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("the token has expired\nmore")

    monkeypatch.setattr(type(bucket), "isfile", refuse)
    with pytest.raises(UserError, match=r"^--data memory://b/set: the token has expired$"):
        read_manifest("memory://b/set")


def test_an_update_sees_what_changed(bucket: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    def stamps() -> list[tuple[int, int]]:
        found = FileStates(read_manifest("memory://b/set"), Crop()).stamps(np.arange(2))
        return list(zip(found["size"].tolist(), found["time"].tolist(), strict=True))

    tars = {name: tar(tmp_path, {"a.flac": SOUND}) for name in ("a.tar", "b.tar")}
    put(bucket, tars)
    before = stamps()
    assert before == stamps()
    assert [size for size, _ in before] == [len(SOUND)] * 2
    put(bucket, {"b.tar": tar(tmp_path, {"a.flac": SOUND[:-1] + b"x"})})
    assert [one == other for one, other in zip(before, stamps(), strict=True)] == [True, False]


def test_files_without_a_version_are_said(bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, {"1.flac": SOUND})
    assert "no version" not in summary_of(read_manifest("memory://b/set"))
    monkeypatch.setattr(remote, "_VERSIONS", ())
    assert "its files have no version, so an update sees only" in summary_of(read_manifest("memory://b/set"))


@pytest.mark.parametrize(("versions", "scans"), [(remote._VERSIONS, [2, 0, 1]), ((), [2, 2, 2])])
def test_the_index_of_remote_tars_is_kept_while_their_versions_are_the_same(
    versions: tuple[str, ...],
    scans: list[int],
    bucket: fsspec.AbstractFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "_VERSIONS", versions)
    read: list[object] = []
    monkeypatch.setattr(index, "scan", lambda place: read.append(place) or scan(place))
    put(bucket, {name: tar(tmp_path, {"a.flac": SOUND}) for name in ("x/a.tar", "b.tar")})
    found = []
    for _ in range(2):
        check(read_manifest("memory://b/set"), ["b.tar/a.flac", "x/a.tar/a.flac"])
        found.append(len(read))
        read.clear()
    put(bucket, {"b.tar": tar(tmp_path, {"c.flac": SOUND})})
    check(read_manifest("memory://b/set"), ["b.tar/c.flac", "x/a.tar/a.flac"])
    assert [*found, len(read)] == scans
