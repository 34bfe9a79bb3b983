"""Wrong sizes in headers neither hide sound nor promise too much."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.headers import HEAD_BYTES, is_blank, view, with_flac_length
from distill.data.audio.read import Span, blocks, duration, read
from distill.data.audio.splice import AS_IT_IS, Splice
from distill.data.errors import AudioError

RATE = 16_000
SOUND = np.random.default_rng(0).integers(-9000, 9000, RATE // 2).astype(np.int16)
RAW = SOUND.tobytes()
SIZE = len(RAW)
GIB = 1 << 30


def wav(riff: int, data: int, tail: bytes = b"", *, name: bytes = b"RIFF", order: str = "<", raw: bytes = RAW) -> bytes:
    form = struct.pack(f"{order}4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    sizes = [struct.pack(f"{order}I", size) for size in (riff, data)]
    return name + sizes[0] + b"WAVE" + form + b"data" + sizes[1] + raw + tail


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND, RATE, format=kind, subtype="PCM_16")
    return file.getvalue()


def patched(kind: str, *changes: tuple[bytes, int, str, int]) -> bytes:
    """Return a file in which the number at an offset from a name is another one."""
    content = bytearray(encoded(kind))
    for name, offset, form, number in changes:
        struct.pack_into(form, content, content.index(name) + offset, number)
    return bytes(content)


LIST = b"LIST" + struct.pack("<I", 5) + b"INFOx"  # of odd length, without a pad byte
WHOLE = {
    "right": wav(36 + SIZE, SIZE),
    "ffmpeg to a pipe": wav(2**32 - 1, 2**32 - 1),
    "sox to a pipe": wav(0x7FFFF024, 0x7FFFF000),
    "INT32_MAX": wav(0x7FFFFFFF, 0x7FFFFFFF),
    "arecord that was killed": wav(0x80000024, 0x80000000),
    "unknown less a header": wav(2**32 - 1, 2**32 - 1 - 36),
    "RIFF 8 too large": wav(44 + SIZE, SIZE),
    "pad byte that is not there": wav(36 + SIZE + len(LIST) + 1, SIZE, LIST),
    "the header counted as sound": wav(36 + SIZE, SIZE + 44),
    "RIFF 0": wav(0, SIZE),
    "both 0": wav(0, 0),
    "RIFF an empty file": wav(36, 0),
    "data 0": wav(36 + SIZE, 0),
    "a block of 4096": wav(4088, 0),
    "RIFX 0": wav(0, 0, name=b"RIFX", order=">", raw=SOUND.astype(">i2").tobytes()),
    "RF64 without ds64": wav(2**32 - 1, 2**32 - 1, name=b"RF64"),
    "RF64 0": patched("RF64", (b"ds64", 8, "<Q", 0), (b"ds64", 16, "<Q", 0), (b"ds64", 24, "<Q", 0)),
    "RF64 all 0": patched("RF64", (b"ds64", 8, "<Q", 0), (b"ds64", 16, "<Q", 0), (b"data", 4, "<I", 0)),
    "W64 0": patched("W64", (b"data", 16, "<Q", 0)),
    "W64 of a header": patched("W64", (b"data", 16, "<Q", 24), (b"riff", 16, "<Q", 0)),
    "AIFF 0": patched("AIFF", (b"SSND", 4, ">I", 0), (b"FORM", 4, ">I", 0)),
    "CAF unknown": patched("CAF", (b"data", 4, ">q", -1)),
    "CAF 0": patched("CAF", (b"data", 4, ">q", 0)),
    "AU unknown": patched("AU", (b".snd", 8, ">I", 2**32 - 1)),
    "AU 0": patched("AU", (b".snd", 8, ">I", 0)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_every_sample_that_is_there_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(WHOLE[kind])
    samples, rate = read(tmp_path / "a.wav")
    assert rate == RATE
    assert np.array_equal(samples[: len(SOUND)], SOUND)
    assert len(samples) - len(SOUND) <= len(LIST)
    assert duration(tmp_path / "a.wav") == len(samples) / RATE
    crop = read(tmp_path / "a.wav", Span(start=0.1, duration=0.2))[0]
    assert np.array_equal(crop, SOUND[RATE // 10 : 3 * RATE // 10])
    assert np.array_equal(np.concatenate(list(blocks(tmp_path / "a.wav", seconds=0.1))), samples)


CUT = {
    "WAV": wav(36 + SIZE, SIZE),
    "WAV of the wrong RIFF size": wav(0, SIZE),
    "RIFX": wav(36 + SIZE, SIZE, name=b"RIFX", order=">"),
    **{kind: encoded(kind) for kind in ("RF64", "W64", "AIFF", "CAF", "AU", "NIST")},
}


@pytest.mark.parametrize("kind", CUT)
def test_what_is_missing_is_found_by_a_read_to_the_end(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(CUT[kind][: -SIZE // 2])
    for span in (Span(), Span(start=0.1), Span(max_seconds=0.2, crop_position=1.0)):
        with pytest.raises(AudioError, match="truncated"):
            read(tmp_path / "a.wav", span)
    assert len(read(tmp_path / "a.wav", Span(start=0.05, duration=0.1))[0]) == RATE // 10


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_an_ogg_whose_last_page_is_cut_is_never_read_as_whole(share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 10 * RATE)
    soundfile.write(tmp_path / "a.ogg", noise, RATE)
    content = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "a.ogg").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(AudioError) as caught:
        read(tmp_path / "a.ogg")
    assert caught.value.reason in ("truncated", "malformed")


@pytest.mark.parametrize("tail", [b"", LIST + b"\0"], ids=["nothing", "chunks"])
def test_a_file_without_sound_is_not_given_any(tail: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(36 + len(tail), 0, tail, raw=b""))
    with pytest.raises(AudioError, match="too_short"):
        read(tmp_path / "a.wav")


def test_a_header_that_was_never_written_has_its_own_reason(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(bytes(44) + RAW)
    with pytest.raises(AudioError, match="unfinished_header"):
        read(tmp_path / "a.wav")
    assert is_blank(bytes(44))
    assert not is_blank(bytes(43))
    assert not is_blank(wav(0, 0))


@pytest.mark.parametrize("data", [(5 * GIB) % (4 * GIB), 2**32 - 1, 0], ids=["wrapped", "unknown", "unfinished"])
def test_a_wav_of_more_than_4_gib_gets_a_header_that_can_say_so(data: int) -> None:
    head = wav(data, data, raw=b"")
    size = len(head) + 5 * GIB

    def read_at(offset: int, count: int) -> bytes:
        return (head[offset : offset + count]).ljust(min(count, size - offset), b"\1")

    pieces = view(read_at(0, HEAD_BYTES), read_at, size).pieces
    assert pieces is not None
    seen = soundfile.SoundFile(Splice(read_at, pieces))
    assert seen.frames == 5 * GIB // 2


def test_a_right_header_is_not_touched() -> None:
    for content in (WHOLE["right"], WHOLE["RIFF 0"], encoded("FLAC"), encoded("AIFF"), encoded("W64"), b"", b"RIFF"):
        assert view(content[:HEAD_BYTES], lambda at, n, c=content: c[at : at + n], len(content)) is AS_IT_IS


def test_chunks_that_never_end_are_given_up() -> None:
    reads = []

    def read_at(offset: int, count: int) -> bytes:
        reads.append(offset)
        return (b"junk" + bytes(4)).ljust(count, b"\0")[:count]

    assert view(b"RIFF" + bytes(4) + b"WAVE", read_at, 1 << 40) is AS_IT_IS
    assert len(reads) <= 10_000


def test_a_flac_gets_the_number_of_its_samples() -> None:
    content = encoded("FLAC")
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36
    nameless = content[:18] + packed.to_bytes(8, "big") + content[26:]
    pieces = with_flac_length(nameless, len(nameless), len(SOUND)).pieces
    assert pieces is not None
    assert Splice(lambda at, n: nameless[at : at + n], pieces).read() == content
