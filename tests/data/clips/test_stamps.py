"""The states of files: sizes, times, windows and contents, of files and of parts of containers."""

from __future__ import annotations

import os
import socket
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from distill.data.audio.parts import Member
from distill.data.audio.remote import Address
from distill.data.clips import stamps
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.stamps import FileStates, StampedClips, window_digests
from distill.data.clips.views import Views
from distill.data.clips.windows import in_views
from distill.data.sampling.batches import Draws
from tests.conftest import tone


def states(root: Path, *rows: Row, crop: Crop = Crop()) -> FileStates:
    return FileStates(Manifest(root, rows), crop)


def state(root: Path, **row: Any) -> tuple[int, ...]:
    """The stamp of one clip, with content."""
    found = states(root, Row("a", **{"path": root / "a", **row}))
    stamp = found.stamps(np.array([0]))[0]
    return (*stamp.tolist()[:3], found.content(0))


@pytest.mark.parametrize("name", ["a", "caf\udce9.wav"])
def test_a_file_has_size_time_and_content(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"sound")
    os.utime(tmp_path / name, ns=(1, 1234567890123456789))
    size, time, window, content = state(tmp_path, path=tmp_path / name)
    assert (size, time, content) == (5, 1234567890123456789, zlib.crc32(b"sound"))
    assert window
    os.utime(tmp_path / name, ns=(0, 0))  # as in archives that can be built again
    assert state(tmp_path, path=tmp_path / name)[1] != 0


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "socket", "forbidden", "nul"])
def test_what_cannot_be_read_has_no_state(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # reading it would wait for ever
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("a")
    elif kind == "forbidden":
        path.write_bytes(b"sound")
        monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    elif kind == "nul":
        path = tmp_path / "a\0b"
    size, time, window, content = state(tmp_path, path=path)
    assert (size, time, content) == (0, 0, 0)
    assert window


def test_windows_of_one_file_differ(tmp_path: Path) -> None:
    starts = np.array([0.0, -0.0, 1.0, 1.0, 0.0, 2.5, 2.5 + 1e-9])
    durations = np.array([np.nan, -np.nan, np.nan, 2.0, 1.0, 1.0, 1.0])
    digests = window_digests(starts, durations)
    assert digests[0] == digests[1]
    assert len(set(digests.tolist())) == 6
    assert window_digests(starts[2:3], durations[2:3]) == digests[2]  # in every process
    many = window_digests(np.repeat(np.arange(300) / 10, 300), np.tile(np.arange(300) / 10, 300))
    assert len(np.unique(many)) > 89_990
    assert many.all()


def test_a_long_file_is_not_read_for_a_crop_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_MAX_BYTES_OF_CROPS", 9)
    (tmp_path / "a").write_bytes(b"long sound")
    row = Row("a", tmp_path / "a")
    assert states(tmp_path, row, crop=Crop(2.0)).content(0) == 0
    assert states(tmp_path, row, crop=Crop(0.0)).content(0) == zlib.crc32(b"long sound")


def test_a_sound_in_a_container_has_its_own_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"headone.twothree")
    before = state(tmp_path, part=Member(4, 3))
    assert (before[0], before[3]) == (3, zlib.crc32(b"one"))
    os.utime(tmp_path / "a", ns=(7, 7))
    (tmp_path / "a").write_bytes(b"another head, one, and more")
    after = state(tmp_path, part=Member(14, 3))
    assert (after[0], after[2], after[3]) == (before[0], before[2], before[3])  # only the time differs
    assert after[1] != before[1]
    assert state(tmp_path, part=Member(25, 9))[3] == 0  # behind the end


def test_a_sound_in_a_parquet_file_has_its_own_bytes(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from distill.data.audio.parts import Cell

    parquet.write_table(pyarrow.table({"audio": [b"one", b"another"]}), tmp_path / "a")
    assert state(tmp_path, part=Cell("audio", 1))[3] == zlib.crc32(b"another")


def test_a_file_of_another_machine_never_changes(tmp_path: Path) -> None:
    assert state(tmp_path, path=Address("s3://bucket/a.flac"))[:2] == (0, 0)


def test_the_state_of_a_mixture_is_that_of_both_files(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"sound of " + name.encode())
        os.utime(tmp_path / name, ns=(5, 5))
    views = Views(3, mixup=1.0)

    def found(*rows: Row) -> tuple[np.void, int]:
        manifest = in_views(Manifest(tmp_path, rows), views)
        place = list(manifest.ids).index("a.wav@view1")
        states = FileStates(manifest, Crop())
        return states.stamps(np.array([place]))[0], states.content(place)

    a, b, c = (Row(name, tmp_path / name) for name in ("a.wav", "b.wav", "c.wav"))
    stamp, content = found(a, b)
    assert stamp["size"] == sum((tmp_path / name).stat().st_size for name in ("a.wav", "b.wav"))
    assert stamp["time"] == 10
    assert found(b, a)[0] == stamp  # in any order
    others = [found(a, c)[0], found(a, replace(b, start=1.0))[0], found(replace(a, start=1.0), b)[0]]
    assert len({int(other["window"]) for other in [stamp, *others]}) == 4
    own = FileStates(Manifest(tmp_path, [a]), Crop())
    assert own.stamps(np.array([0]))[0]["window"] != stamp["window"]
    (tmp_path / "b.wav").write_bytes(b"other of b.wav")
    assert found(a, b)[0]["time"] != stamp["time"]
    assert found(a, b)[1] != content
    (tmp_path / "b.wav").unlink()
    assert found(a, b)[1] == 0


def test_a_batch_holds_the_states_before_reading(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 0.1), 16_000)
    (tmp_path / "b.wav").write_bytes(b"no sound")
    clips = StampedClips(
        Manifest(tmp_path, [Row(name, tmp_path / name) for name in ("a.wav", "b.wav")]), 16_000, Crop()
    )
    loaded = clips.__getitems__(Draws([1, 0], [1, 0]))
    assert loaded.ids == ("b.wav", "a.wav")
    assert [clip.id for clip in loaded.set_aside] == ["b.wav"]
    assert loaded.stamps["size"].tolist() == [8, (tmp_path / "a.wav").stat().st_size]
    assert loaded.stamps["content"].tolist() == [zlib.crc32(b"no sound"), zlib.crc32((tmp_path / "a.wav").read_bytes())]
