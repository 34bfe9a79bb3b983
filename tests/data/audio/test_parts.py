"""A part of a container is read like a file of its own, and a part that is not there is an AudioError."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from distill.data.audio import parts
from distill.data.audio.parts import Cell, Member, Part, PartReader, Parts, Range, open_part, reader_of
from distill.data.audio.read import Span, blocks, duration, read, sample_rate_of
from distill.data.errors import AudioError
from tests.conftest import tone
from tests.data.audio.parquets import write

PARTS: list[Part | None] = [Member(512, 40), None, Cell("audio.bytes", 7), Member(1 << 40, 0), Cell("flac", 0)]


def test_parts_are_kept_as_columns() -> None:
    columns = Parts.of(PARTS)
    assert columns is not None
    assert list(columns) == PARTS
    assert len(columns) == 5
    assert list(columns.take(np.array([4, 0, 1]))) == [PARTS[4], PARTS[0], PARTS[1]]
    assert list(Parts.cells("a", np.array([3, 1]))) == [Cell("a", 3), Cell("a", 1)]


def test_whole_files_need_no_columns() -> None:
    assert Parts.of([None, None]) is None
    assert Parts.of([]) is None


def container(folder: Path) -> BinaryIO:
    (folder / "a.bin").write_bytes(b"0123456789")
    return (folder / "a.bin").open("rb", buffering=0)


def test_a_member_is_read_and_its_container_is_closed(tmp_path: Path) -> None:
    file = container(tmp_path)
    with open_part(file, Member(2, 5)) as sound:
        assert sound.read() == b"23456"
    assert file.closed


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (Member(5, 6), "truncated"),
        (Member(11, 1), "truncated"),
        (Member(-1, 3), "truncated"),
        (Member(1 << 62, 1 << 62), "truncated"),
        (Member(3, 0), "empty_file"),
        (Cell("audio", 0), "malformed"),
    ],
)
def test_a_part_that_is_not_there_is_an_audio_error(part: Part, reason: str, tmp_path: Path) -> None:
    file = container(tmp_path)
    with pytest.raises(AudioError) as error:
        open_part(file, part)
    assert error.value.reason == reason
    assert file.closed


def test_a_container_that_shrinks_while_it_is_read_is_truncated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = container(tmp_path)
    monkeypatch.setattr(parts, "reader_of", lambda _: (lambda offset, size: b"23", 10))
    with pytest.raises(AudioError, match="holds 2 of 5 bytes"):
        open_part(file, Member(2, 5))


def long_part(folder: Path) -> tuple[Path, Member]:
    soundfile.write(folder / "long.wav", tone(440, 300), 16_000)
    sound = (folder / "long.wav").read_bytes()
    (folder / "a.bin").write_bytes(b"before" + sound + b"after" * 100_000)
    return folder / "a.bin", Member(6, len(sound))


def test_a_long_sound_is_decoded_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, part = long_part(tmp_path)
    assert part.size > parts.MAX_BYTES_IN_MEMORY
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or pread(*arguments))
    file = path.open("rb", buffering=0)
    with open_part(file, part) as sound, soundfile.SoundFile(sound) as decoder:
        assert decoder.frames == 16_000 * 300
        decoder.seek(16_000 * 200)
        crop = decoder.read(16_000, dtype="int16")
    assert np.array_equal(
        crop, soundfile.read(tmp_path / "long.wav", start=16_000 * 200, frames=16_000, dtype="int16")[0]
    )
    assert sum(read) < 1 << 20
    assert file.closed


def test_a_part_reader_is_a_file_of_its_own() -> None:
    content = bytes(range(200))
    reader = PartReader(io.BytesIO(content), Range(reader_of(io.BytesIO(content))[0], 50, 100))
    mirror = io.BytesIO(content[50:150])
    for offset, whence, size in [(0, 0, 10), (-5, 2, 10), (20, 0, 0), (3, 1, 200), (500, 0, 4), (-2, 1, 4), (0, 2, 1)]:
        assert reader.seek(offset, whence) == reader.tell() == mirror.seek(offset, whence)
        assert reader.read(size) == mirror.read(size)
    assert reader.readable()
    assert reader.seekable()


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), AudioError("malformed", "a damaged page")])
def test_a_failed_read_is_reported_when_the_sound_is_closed(
    failure: Exception, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, part = long_part(tmp_path)
    content = path.read_bytes()

    def fails(offset: int, size: int) -> bytes:
        if offset > 1000:
            raise failure
        return content[offset : offset + min(size, 1000)]

    sound = io.BufferedReader(PartReader(path.open("rb"), Range(fails, part.first, part.size)))
    with pytest.raises(AudioError) as error, sound, soundfile.SoundFile(sound) as decoder:
        decoder.read(16_000)
    assert error.value.reason == ("malformed" if isinstance(failure, AudioError) else "unreadable")
    assert capfd.readouterr().err == ""
    sound.close()  # a second time, as when the object is deleted


@pytest.mark.parametrize("memory", [1 << 30, 0])
@pytest.mark.parametrize(
    ("form", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", None), ("MP3", None)]
)
def test_a_sound_in_a_container_is_read_like_its_file(
    form: str, subtype: str | None, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_BYTES_IN_MEMORY", memory)
    path = tmp_path / "a"
    soundfile.write(path, tone(440, 3), 16_000, format=form, subtype=subtype)
    content = path.read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(512) + content + bytes(700))
    cells = write(tmp_path / "a.parquet", [b"x", content, None])
    for container, part in [(tmp_path / "a.tar", Member(512, len(content))), (cells, Cell("audio.bytes", 1))]:
        assert duration(container, part) == duration(path)
        assert sample_rate_of(container, part) == 16_000
        for span in (Span(), Span(start=1.1, duration=0.7), Span(max_seconds=0.5, crop_position=0.5)):
            expected, _ = read(path, span)
            samples, _ = read(container, span, part)
            assert samples.dtype == expected.dtype
            assert np.array_equal(samples, expected)
            joined = np.concatenate(list(blocks(container, span, part, seconds=0.2)))
            assert np.array_equal(joined, np.concatenate(list(blocks(path, span, seconds=0.2))))


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_a_broken_sound_in_a_container_has_its_reason(
    memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_BYTES_IN_MEMORY", memory)
    soundfile.write(tmp_path / "a.wav", tone(440, 3), 16_000)
    cut = (tmp_path / "a.wav").read_bytes()[:50_000]
    mp4 = b"\0\0\0\x20ftypM4A " + bytes(500)
    (tmp_path / "a.tar").write_bytes(cut + b"x" * 600 + mp4)
    assert reason(tmp_path / "a.tar", Member(0, 50_000))[0] == "truncated"
    assert reason(tmp_path / "a.tar", Member(50_000, 600)) == ("unrecognised_format", "Format not recognised.")
    assert reason(tmp_path / "a.tar", Member(50_600, len(mp4)))[0] == "unsupported_format"
    assert "a.tar" not in reason(tmp_path / "a.tar", Member(50_600, len(mp4)))[1]
    assert reason(tmp_path / "b.tar", Member(0, 9)) == ("missing", "No such file or directory")


def reason(path: Path, part: Part) -> tuple[str, str]:
    """Return why a sound cannot be read."""
    with pytest.raises(AudioError) as error:
        read(path, part=part)
    return error.value.reason, error.value.detail
