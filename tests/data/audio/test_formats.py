"""Every listed suffix is of a format that can be read, and every other audio file is named with its conversion."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.formats import AUDIO_SUFFIXES, CONVERTIBLE_SUFFIXES
from distill.data.audio.read import duration, read, sample_rate_of
from distill.data.errors import AudioError
from tests.conftest import tone

FORMATS = {  # libsndfile's name of the format: the suffixes of its files
    "WAV": ".wav .wave .bwf",
    "RF64": ".rf64",
    "W64": ".w64",
    "FLAC": ".flac",
    "OGG": ".ogg .oga .opus",
    "MP3": ".mp3 .mp2 .mp1 .mpga",
    "AIFF": ".aif .aiff .aifc",
    "AU": ".au .snd",
    "CAF": ".caf",
    "NIST": ".sph .nist",
    "VOC": ".voc",
    "AVR": ".avr",
    "PAF": ".paf",
    "PVF": ".pvf",
    "IRCAM": ".sf .ircam",
    "SVX": ".svx .8svx .16svx",
    "HTK": ".htk",
    "WVE": ".wve",
}
SUBTYPES = {".opus": "OPUS", ".aifc": "ULAW"}
LAYERS = {".mp1": (b"\xff\xff\x84\x00", 256), ".mp2": (b"\xff\xfd\x84\x00", 384)}  # header, bytes of a frame at 48 kHz
CONTENTS = {
    "MP4": b"\0\0\0\x20ftypM4A ",
    "WebM": b"\x1a\x45\xdf\xa3",
    "WMA": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "AAC": b"\xff\xf1\x50\x80",
    "AMR": b"#!AMR\n",
    "Shorten": b"ajkg\2",
    "Speex": b"OggS\0\2" + bytes(22) + b"Speex   1.2",
}


def test_every_readable_suffix_has_a_format() -> None:
    assert {suffix for suffixes in FORMATS.values() for suffix in suffixes.split()} == AUDIO_SUFFIXES
    assert not AUDIO_SUFFIXES & CONVERTIBLE_SUFFIXES


@pytest.mark.parametrize(("name", "suffix"), [(n, s) for n, line in FORMATS.items() for s in line.split()])
def test_every_readable_suffix_is_read(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix in LAYERS:  # libsndfile reads them and does not write them
        header, size = LAYERS[suffix]
        path.write_bytes((header + bytes(size - len(header))) * 100)
        assert np.array_equal(np.unique(read(path)[0]), [0])
        return
    soundfile.write(path, tone(440), 16_000, format=name, subtype=SUBTYPES.get(suffix))
    samples, rate = read(path)
    assert len(samples) == pytest.approx(16_000, rel=0.1)
    assert rate == (8000 if name == "WVE" else 16_000)
    assert duration(path) == pytest.approx(len(samples) / rate)


@pytest.mark.parametrize("suffix", sorted(CONVERTIBLE_SUFFIXES))
@pytest.mark.parametrize("use", [read, duration, sample_rate_of])
def test_other_audio_is_named_with_the_command_that_converts_it(
    suffix: str, use: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / f"a 'b'{suffix.upper()}"
    path.write_bytes(bytes(500))
    with pytest.raises(AudioError) as caught:
        use(path)
    assert caught.value.reason == "unsupported_format"
    text, command = caught.value.detail.split("; run: ")
    assert text == f"libsndfile does not read {suffix.upper()}"
    assert shlex.split(command) == ["ffmpeg", "-i", str(path), "-vn", str(path.with_suffix(".flac"))]


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a"])
def test_the_content_names_the_format_of_a_misnamed_file(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(CONTENTS[kind] + np.random.default_rng(0).bytes(500))
    with pytest.raises(AudioError) as caught:
        read(path)
    assert caught.value.reason == "unsupported_format"
    assert f"does not read {kind}" in caught.value.detail
    assert shlex.split(caught.value.detail)[-1] != str(path)


def test_a_sound_with_the_suffix_of_another_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    soundfile.write(path, tone(440), 16_000, format="FLAC")
    assert len(read(path)[0]) == 16_000
