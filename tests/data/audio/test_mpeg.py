"""Every sample of an MP3 is read, with a cover and without a Xing header too."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio import mpeg
from distill.data.audio.read import Span, blocks, duration, read
from distill.data.audio.splice import AS_IT_IS
from distill.data.errors import AudioError

RATE = 44_100
SECONDS = 6
PICTURE = np.random.default_rng(1).bytes(300_000)
MODES = ("CONSTANT", "VARIABLE")


@cache
def mp3(mode: str, rate: int = RATE, channels: int = 1) -> bytes:
    """Return a sound that becomes louder, so that its bit rate changes."""
    noise = np.random.default_rng(0).standard_normal((rate * SECONDS, channels)) * 0.1
    file = io.BytesIO()
    loud = noise * np.linspace(0.001, 1, len(noise))[:, None]
    soundfile.write(file, loud, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    return file.getvalue()


def without_xing(content: bytes) -> bytes:
    return content[content.index(content[:2], 2) :]


def id3(content: bytes) -> bytes:
    length = bytes(len(content) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + length + content


def picture() -> bytes:
    return id3(b"APIC" + len(PICTURE).to_bytes(4, "big") + b"\0\0" + PICTURE)


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "as written": lambda content: content,
    "cover": lambda content: picture() + content,
    "no Xing frame": without_xing,
    "cover, no Xing frame": lambda content: picture() + without_xing(content),
    "three tags": lambda content: id3(bytes(500)) * 3 + without_xing(content),
    "zeros after a tag": lambda content: id3(bytes(10)) + bytes(3000) + without_xing(content),
    "ID3v1 at the end": lambda content: without_xing(content) + b"TAG" + bytes(125),
    "APE tag at the end": lambda content: content + b"APETAGEX" + bytes(30_000),
    "begins inside a frame": lambda content: without_xing(content)[100:],
}


def read_bytes(folder: Path, content: bytes, span: Span = Span()) -> tuple[np.ndarray, int]:  # noqa: B008
    (folder / "a.mp3").write_bytes(content)
    return read(folder / "a.mp3", span)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", WHOLE)
def test_the_whole_sound_is_read(kind: str, mode: str, tmp_path: Path) -> None:
    samples, rate = read_bytes(tmp_path, WHOLE[kind](mp3(mode)))
    assert rate == RATE
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.1)
    assert duration(tmp_path / "a.mp3") == pytest.approx(SECONDS, abs=0.1)
    assert np.array_equal(np.concatenate(list(blocks(tmp_path / "a.mp3", seconds=1.0))), samples)
    expected = read_bytes(tmp_path, mp3(mode))[0]
    level, loudest = np.abs(samples[-RATE // 2 :]).mean(), np.abs(expected[-RATE // 2 :]).mean()
    assert level == pytest.approx(loudest, rel=0.1)  # the end of the sound is there


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 2), (22_050, 1), (32_000, 2), (48_000, 2)])
def test_every_rate_is_counted_right(rate: int, channels: int, tmp_path: Path) -> None:
    samples, found = read_bytes(tmp_path, picture() + without_xing(mp3("CONSTANT", rate, channels)))
    assert found == rate
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.2)


CUT: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "half with a cover": lambda content: picture() + content[: len(content) // 2],
    "zeros for the second half": lambda content: content[: len(content) // 2] + bytes(len(content) // 2),
    "zeros for the second half, no Xing frame": lambda content: (
        without_xing(content)[: len(content) // 2] + bytes(len(content) // 2)
    ),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", CUT)
def test_a_lost_end_is_found(kind: str, mode: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        read_bytes(tmp_path, CUT[kind](mp3(mode)))
    assert caught.value.reason in ("truncated", "malformed")
    assert len(read(tmp_path / "a.mp3", Span(duration=0.5))[0]) == RATE // 2


@pytest.mark.parametrize("tail", [b"", b"\xff\xfb\x90\x00" + bytes(200), b"\xff" * 4000])
def test_a_tag_without_frames_is_no_sound(tail: bytes, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        read_bytes(tmp_path, id3(bytes(100)) + tail)


def test_other_files_and_right_headers_are_not_touched() -> None:
    flac = io.BytesIO()
    soundfile.write(flac, np.zeros(1000), RATE, format="FLAC")
    for content in (mp3("VARIABLE"), flac.getvalue(), id3(bytes(50)) + flac.getvalue(), b"RIFF" + bytes(50), b""):
        assert mpeg.view(content[:10], lambda at, n, c=content: c[at : at + n], len(content)) is AS_IT_IS


def test_bytes_that_never_are_frames_are_given_up() -> None:
    reads: list[int] = []

    def read_at(offset: int, size: int) -> bytes:
        reads.append(size)
        return (b"\xff\xfb\x90\x00" * 3)[:size].ljust(size, b"\xff")

    assert mpeg.salvage(read_at, 1 << 40) is AS_IT_IS
    assert max(reads) <= 1 << 20
