"""Anything that a path can be is opened, or has a reason."""

from __future__ import annotations

import errno
import io
import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.opening import SAMPLE_RATES, open_file, open_sound
from distill.data.audio.parts import Member
from distill.data.audio.read import Span, blocks, duration, read, sample_rate_of
from distill.data.errors import AudioError
from tests.conftest import tone

RATE = 16_000
FORMATS = [
    *[("WAV", kind) for kind in ("PCM_16", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")],
    *[(kind, "PCM_16") for kind in ("WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC", "NIST", "VOC", "PAF", "AVR")],
    *[(kind, "PCM_16") for kind in ("IRCAM", "SVX", "HTK", "PVF")],
    *[("CAF", "ALAC_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
]


def encoded(kind: str, subtype: str, samples: object = None, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(440, 0.5) if samples is None else samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def listening(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is short
        try:
            unix.bind("a.wav")
        finally:
            os.chdir(here)
    return folder / "a.wav"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "a.wav")
    return folder / "a.wav"


@pytest.mark.parametrize(
    "make", [listening, fifo, lambda folder: folder, lambda folder: Path("/dev/null"), lambda folder: Path("/dev/zero")]
)
def test_what_is_no_file_is_set_aside(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="not_regular_file"):
        open_file(make(tmp_path))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENXIO, "not_regular_file"),  # a device without a driver
        (errno.ENODEV, "not_regular_file"),
        (errno.EPERM, "permission"),
        (errno.EINVAL, "bad_name"),
        (errno.EIO, "unreadable"),
        (errno.ESTALE, "unreadable"),
    ],
)
def test_errors_of_the_system_are_reasons(number: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(AudioError, match=reason):
        open_file("a.wav")


def test_a_lack_of_handles_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        open_file("a.wav")


def test_a_disk_that_fails_sets_the_clip_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "PCM_16"))

    def fail(*arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(AudioError, match="unreadable: Input/output error"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [99, 100, 1000, 384_000, 500_000, 1_000_000, 1_000_001])
@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_rates_from_hydrophones_to_bat_detectors(rate: int, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(encoded(kind, "PCM_16", np.zeros(rate // 10), rate))
    if rate in SAMPLE_RATES:
        assert sample_rate_of(tmp_path / "a") == read(tmp_path / "a")[1] == rate
    else:
        with pytest.raises(AudioError, match=r"bad_sample_rate: .* must be 100 to 1000000 Hz"):
            read(tmp_path / "a")
    assert 100 in SAMPLE_RATES
    assert 1_000_000 in SAMPLE_RATES


def without_length(content: bytes) -> bytes:
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def test_a_flac_from_a_pipe_states_no_length_and_is_read(tmp_path: Path) -> None:
    content = encoded("FLAC", "PCM_16")
    (tmp_path / "right.flac").write_bytes(content)
    (tmp_path / "a.flac").write_bytes(without_length(content))
    assert duration(tmp_path / "a.flac") == 0.5
    for span in (Span(), Span(start=0.1, duration=0.2), Span(max_seconds=0.2, crop_position=1.0)):
        assert np.array_equal(read(tmp_path / "a.flac", span)[0], read(tmp_path / "right.flac", span)[0])


def without_xing(content: bytes) -> bytes:
    return content[content.index(content[:2], 2) :]


WRONG = {
    "WAV of 0 bytes": lambda: encoded("WAV", "PCM_16")[:40] + bytes(4) + encoded("WAV", "PCM_16")[44:],
    "FLAC without length": lambda: without_length(encoded("FLAC", "PCM_16")),
    "MP3 without Xing frame": lambda: without_xing(encoded("MP3", "MPEG_LAYER_III")),
}


@pytest.mark.parametrize("kind", WRONG)
def test_parts_of_containers_are_mended_like_files(kind: str, tmp_path: Path) -> None:
    content = WRONG[kind]()
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "a.tar").write_bytes(bytes(512) + content + bytes(512))
    part = Member(512, len(content))
    alone = read(tmp_path / "a")[0]
    assert len(alone) >= RATE // 2
    assert np.array_equal(read(tmp_path / "a.tar", part=part)[0], alone)
    assert duration(tmp_path / "a.tar", part) == duration(tmp_path / "a")


def test_the_reason_of_a_part_does_not_name_the_container_as_the_sound(tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(b"no sound" * 9)
    with open_file(tmp_path / "a.m4a", Member(0, 72)) as file, pytest.raises(AudioError) as caught:
        open_sound(file, tmp_path / "a.m4a", Member(0, 72))
    assert caught.value.reason == "unrecognised_format"


def fault(use: Callable[[Path], object], path: Path) -> str:
    """Return why a file cannot be used. Empty if it can."""
    try:
        use(path)
    except AudioError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_damaged_bytes_are_read_or_have_one_line(kind: str, subtype: str, tmp_path: Path) -> None:
    content, random = encoded(kind, subtype), np.random.default_rng(len(kind) + len(subtype))
    path = tmp_path / "a.wav"
    tracemalloc.start()
    try:
        for trial in range(24):
            damaged = bytearray(content)
            if trial % 3 == 0:
                del damaged[random.integers(1, len(content)) :]
            for _ in range(trial % 3 * 3):
                damaged[random.integers(min(len(content), 200))] = random.choice([0, 127, 128, 255])
            path.write_bytes(damaged)
            for use in (read, lambda path: list(blocks(path, seconds=0.1)), duration):
                line = fault(use, path)
                assert len(line) < 300
                assert "\n" not in line
        assert tracemalloc.get_traced_memory()[1] < 64e6  # bytes
    finally:
        tracemalloc.stop()
