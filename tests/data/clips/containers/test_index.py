"""The index is made once, follows changes, and is never trusted more than the tars."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.data.clips.containers import index
from distill.data.clips.containers.index import INDEX, Index, index_tars
from tests.data.clips.containers.tars import write_tar


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of the tars that are read."""
    names: list[str] = []
    scan = index.scan
    monkeypatch.setattr(index, "scan", lambda tar: (names.append(tar.name), scan(tar))[1])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


def tars(folder: Path, count: int = 3) -> list[Path]:
    members = {"1.flac": "x", "1.json": '{"label": "dog"}', "2.m4a": "y", "readme.md": "z", "3.flac": "w"}
    return [write_tar(folder / f"{number}.tar", {**members, f"{number}.wav": "v"}) for number in range(count)]


def described(found: Index) -> list[object]:
    return [
        (
            tar.name,
            list(scan.names),
            scan.firsts.tolist(),
            scan.sizes.tolist(),
            list(scan.records),
            scan.set_aside,
            scan.others,
            scan.fault,
        )
        for tar, scan in found.scans.items()
    ]


def test_the_second_start_reads_no_tar(tmp_path: Path, scanned: list[str]) -> None:
    paths = tars(tmp_path / "a")
    first = index_tars(tmp_path / "a", paths)
    assert (first.read, first.file, scanned) == (3, tmp_path / "a" / INDEX, ["0.tar", "1.tar", "2.tar"])
    second = index_tars(tmp_path / "a", paths)
    assert (second.read, second.file, len(scanned)) == (0, first.file, 3)
    assert described(second) == described(first)
    assert described(first)[0][1] == ["1.flac", "3.flac", "0.wav"]  # type: ignore[index]
    assert [path.name for path in (tmp_path / "a").iterdir() if path.suffix != ".tar"] == [INDEX]


CHANGES: dict[str, Callable[[list[Path]], object]] = {
    "content": lambda paths: write_tar(paths[1], {"new.flac": "n"}),
    "time": lambda paths: os.utime(paths[1], ns=(1, 1)),
    "member added": lambda paths: write_tar(paths[1], {"new.flac": "n"}, mode="a"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_only_a_changed_tar_is_read_again(change: str, tmp_path: Path, scanned: list[str]) -> None:
    paths = tars(tmp_path / "a")
    index_tars(tmp_path / "a", paths)
    scanned.clear()
    CHANGES[change](paths)
    found = index_tars(tmp_path / "a", paths)
    assert scanned == ["1.tar"]
    assert ("new.flac" in list(found.scans[paths[1]].names)) == (change != "time")


def test_tars_may_come_and_go(tmp_path: Path, scanned: list[str]) -> None:
    paths = tars(tmp_path / "a")
    index_tars(tmp_path / "a", paths[:2])
    assert index_tars(tmp_path / "a", paths[2:]).read == 1
    paths[0].unlink()
    assert index_tars(tmp_path / "a", paths[1:]).read == 0
    write_tar(tmp_path / "a" / "9.tar", {"9.wav": "x"})
    index_tars(tmp_path / "a", [*paths[1:], tmp_path / "a" / "9.tar"])
    with np.load(tmp_path / "a" / INDEX) as arrays:
        assert b'"0.tar"' not in arrays["tars"].tobytes()


def test_a_folder_that_cannot_be_written_has_its_index_in_the_cache(
    tmp_path: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tars(tmp_path / "a")
    write = index.write_atomically

    def read_only(path: Path, content: Callable[[object], object]) -> None:
        if path.parent == tmp_path / "a":
            raise OSError(30, "Read-only file system")
        write(path, content)

    monkeypatch.setattr(index, "write_atomically", read_only)
    first = index_tars(tmp_path / "a", paths)
    assert first.file is not None
    assert first.file.parent == tmp_path / "cache" / "audio-distill" / "tars"
    assert index_tars(tmp_path / "a", paths).read == 0
    assert index_tars(tmp_path / "a", paths).file == first.file
    monkeypatch.setattr(index, "write_atomically", lambda path, content: read_only(tmp_path / "a" / "x", content))
    paths.append(write_tar(tmp_path / "a" / "9.tar", {"9.wav": "x"}))
    assert index_tars(tmp_path / "a", paths).file is None


def test_tars_that_cannot_be_read_are_listed(tmp_path: Path, scanned: list[str]) -> None:
    paths = tars(tmp_path / "a")
    paths[1].write_bytes(b"\x1f\x8b" + bytes(600))
    missing = tmp_path / "a" / "missing.tar"
    for _ in range(2):
        found = index_tars(tmp_path / "a", [*paths, missing])
        assert list(found.scans) == [paths[0], paths[2]]
        assert found.refused[paths[1]].startswith(f"{paths[1]}: compressed by gzip")
        assert found.refused[missing] == f"{missing}: No such file or directory"


def damaged(file: Path, **changed: object) -> None:
    with np.load(file) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    columns.update(changed)
    np.savez(file, **columns)


def compressed(file: Path) -> None:
    with np.load(file) as arrays:
        np.savez_compressed(file, **arrays)


def cut(file: Path, size: int) -> None:
    file.write_bytes(file.read_bytes()[:size])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "cut off": lambda file: cut(file, 700),
    "no arrays": lambda file: zipfile.ZipFile(file, "w").close(),
    "compressed": compressed,
    "another version": lambda file: damaged(file, version=np.array(0)),
    "objects": lambda file: damaged(file, version=np.array([{}], object)),
    "not JSON": lambda file: damaged(file, tars=np.frombuffer(b"[[", np.uint8)),
    "other JSON": lambda file: damaged(file, tars=np.frombuffer(b'{"a": 1}', np.uint8)),
    "outside the tar": lambda file: damaged(file, firsts=np.full(9, 1 << 40)),
    "beyond its end": lambda file: damaged(file, sizes=np.full(9, 1 << 62)),
    "negative": lambda file: damaged(file, firsts=np.full(9, -512)),
    "decimals": lambda file: damaged(file, firsts=np.zeros(9)),
    "too short": lambda file: damaged(file, firsts=np.zeros(4, np.int64)),
    "ends beyond the texts": lambda file: damaged(file, name_ends=np.arange(9) * 1000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(damage: str, tmp_path: Path, scanned: list[str]) -> None:
    paths = tars(tmp_path / "a")
    first = described(index_tars(tmp_path / "a", paths))
    DAMAGES[damage](tmp_path / "a" / INDEX)
    found = index_tars(tmp_path / "a", paths)
    assert found.read == 3
    assert described(found) == first
    assert index_tars(tmp_path / "a", paths).read == 0


def test_an_interrupted_pass_keeps_what_it_has(
    tmp_path: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = tars(tmp_path / "a")
    scan = index.scan

    def interrupted(tar: Path) -> object:
        if tar == paths[2]:
            raise KeyboardInterrupt
        return scan(tar)

    monkeypatch.setattr(index, "scan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_tars(tmp_path / "a", paths)
    monkeypatch.setattr(index, "scan", scan)
    assert index_tars(tmp_path / "a", paths).read == 1
