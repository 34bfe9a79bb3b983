"""WAV files in memory, against libsndfile."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.parts import Member
from distill.data.audio.read import Span, blocks, duration, read, sample_rate_of
from distill.data.audio.wav import open_wav


def written(frames: int = 1001, channels: int = 2, rate: int = 22_050, **options: str) -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(0).uniform(-1, 1, (frames, channels))
    soundfile.write(file, samples, rate, format="WAV", **(options or {"subtype": "PCM_16"}))
    return file.getvalue()


def with_chunk(content: bytes, size: int) -> bytes:
    """Return a WAV with a chunk of comments before its sound, as ffmpeg writes it."""
    chunk = b"LIST" + struct.pack("<I", size) + bytes(size + size % 2)
    return content[:36] + chunk + content[36:]


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("change", ["none", "comment", "odd comment", "chunk after"])
def test_the_samples_are_those_of_libsndfile(channels: int, change: str) -> None:
    content = written(channels=channels)
    if change.endswith("comment"):
        content = with_chunk(content, 27 if change.startswith("odd") else 26)
    if change == "chunk after":
        content += b"LIST" + struct.pack("<I", 4) + b"abcd"
    sound = open_wav(content)
    assert sound is not None
    expected, rate = soundfile.read(io.BytesIO(content), dtype="int16", always_2d=True)
    assert (sound.samplerate, sound.frames, sound.channels) == (rate, *expected.shape)
    sound.skip(3)
    np.testing.assert_array_equal(np.concatenate([*sound.pieces(500), *sound.pieces(9000)]), expected[3:])
    assert not list(sound.pieces(1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        written(subtype="PCM_24"),
        written(subtype="FLOAT"),
        written(subtype="ULAW"),
        written()[:-2],  # cut off
        written()[:30],
        written()[:40] + bytes(4) + written()[44:],  # a recorder died: the size is 0
        b"RIFX" + written()[4:],
        with_chunk(written(), 26)[:40] + struct.pack("<I", 1 << 31) + with_chunk(written(), 26)[44:],
        written()[:32] + struct.pack("<H", 3) + written()[34:],  # blocks of another size
        written()[:22] + struct.pack("<H", 0) + written()[24:],  # no channel
    ],
)
def test_every_other_file_is_left_to_libsndfile(content: bytes) -> None:
    assert open_wav(content) is None


def test_a_wav_in_a_container_is_read_as_the_same_file(tmp_path: Path) -> None:
    content, plain, container = written(44_100), tmp_path / "a.wav", tmp_path / "a.bin"
    plain.write_bytes(content)
    container.write_bytes(b"abc" + content + b"def")
    part = Member(3, len(content))
    for span in (Span(), Span(start=0.5, duration=0.7), Span(max_seconds=0.2, crop_position=0.5)):
        np.testing.assert_array_equal(read(container, span, part)[0], read(plain, span)[0])
        pieces = list(blocks(container, span, part, seconds=0.1))
        np.testing.assert_array_equal(np.concatenate(pieces), read(plain, span)[0])
    assert duration(container, part) == duration(plain)
    assert sample_rate_of(container, part) == 22_050
