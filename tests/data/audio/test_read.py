"""Every kind of broken file has its own reason, and every usable file is read."""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from distill.data.audio.opening import MAX_CHANNELS
from distill.data.audio.read import FULL_SCALE, Samples, Span, blocks, read
from distill.data.errors import AudioError
from tests.conftest import tone

RATE = 16_000


def wav(folder: Path, name: str = "a.wav", samples: object = None, **options: object) -> Path:
    path = folder / name
    soundfile.write(path, tone(440) if samples is None else samples, RATE, **options)
    return path


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def with_header(path: Path, offset: int, form: str, value: int) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, value)
    path.write_bytes(content)
    return path


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.wav")
    return folder / "pipe.wav"


def loop(folder: Path) -> Path:
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    return folder / "loop.wav"


def written(folder: Path, content: bytes, name: str = "a.wav") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def flac(folder: Path, name: str = "a.flac") -> Path:
    return wav(folder, name)


def flac_total(folder: Path, samples: int) -> Path:
    path = flac(folder)
    content = bytearray(path.read_bytes())
    packed = int.from_bytes(content[18:26]) >> 36 << 36 | samples  # rate, channels and bits stay
    content[18:26] = packed.to_bytes(8)
    path.write_bytes(content)
    return path


NOISE = np.random.default_rng(0).bytes(5000)
KIT: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "missing": ("missing", lambda f: f / "none.wav"),
    "dangling link": ("missing", lambda f: (f / "l.wav").symlink_to(f / "none") or f / "l.wav"),
    "link loop": ("symlink_loop", loop),
    "folder": ("not_regular_file", lambda f: (f / "d.wav").mkdir() or f / "d.wav"),
    "pipe": ("not_regular_file", fifo),
    "device": ("not_regular_file", lambda f: Path("/dev/zero")),
    "NUL in the name": ("bad_name", lambda f: f / "a\0b.wav"),
    "name too long": ("bad_name", lambda f: f / ("x" * 300)),
    "empty": ("empty_file", lambda f: written(f, b"")),
    "random bytes": ("unrecognised_format", lambda f: written(f, NOISE)),
    "random mp3": ("unrecognised_format", lambda f: written(f, NOISE, "a.mp3")),
    "text": ("unrecognised_format", lambda f: written(f, b"<html>not found</html>")),
    "picture": ("unrecognised_format", lambda f: written(f, b"\x89PNG\r\n\x1a\n" + NOISE)),
    "header only": ("too_short", lambda f: wav(f, samples=np.zeros(0))),
    "one sample": ("too_short", lambda f: wav(f, samples=np.zeros(1))),
    "half a WAV": ("truncated", lambda f: cut(wav(f), 0.5)),
    "half a FLAC": ("malformed", lambda f: cut(flac(f), 0.5)),
    "half an OGG": ("malformed", lambda f: cut(wav(f, "a.ogg"), 0.5)),
    "half an MP3": ("truncated", lambda f: cut(wav(f, "a.mp3", np.tile(tone(440), 5)), 0.4)),
    "rate 0": ("unrecognised_format", lambda f: with_header(wav(f), 24, "<I", 0)),
    "rate 1": ("bad_sample_rate", lambda f: with_header(wav(f), 24, "<I", 1)),
    "NaN": ("non_finite_audio", lambda f: wav(f, samples=np.full(800, np.nan), subtype="FLOAT")),
    "infinity": ("non_finite_audio", lambda f: wav(f, samples=np.full(800, np.inf), subtype="FLOAT")),
    "huge": ("non_finite_audio", lambda f: wav(f, samples=np.full(800, 1e30), subtype="FLOAT")),
    "16-bit units": ("wrong_scale", lambda f: wav(f, samples=np.rint(tone(440) * 2**15), subtype="FLOAT")),
    "32-bit units": ("wrong_scale", lambda f: wav(f, samples=np.rint(tone(440) * 2**31), subtype="DOUBLE")),
    "quiet 16-bit units": ("wrong_scale", lambda f: wav(f, samples=np.rint(tone(440) * 300), subtype="FLOAT")),
    "scaled 16-bit units": ("wrong_scale", lambda f: wav(f, samples=tone(440) * 20_000.5, subtype="FLOAT")),
    "unfinished header": ("unfinished_header", lambda f: written(f, bytes(9000))),
    "65 channels": ("too_many_channels", lambda f: wav(f, samples=np.zeros((800, 65)))),
}


@pytest.mark.parametrize("kind", KIT)
def test_broken_audio_has_a_reason(kind: str, tmp_path: Path) -> None:
    reason, make = KIT[kind]
    with pytest.raises(AudioError) as caught:
        read(make(tmp_path))
    assert caught.value.reason == reason
    assert caught.value.detail


def test_a_header_that_claims_days_allocates_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        read(flac_total(tmp_path, 2**36 - 1))
    assert caught.value.reason in ("malformed", "truncated")


@pytest.mark.parametrize(
    ("name", "options", "is_int16"),
    [
        ("a.wav", {"subtype": "PCM_16"}, True),
        ("a.wav", {"subtype": "PCM_24"}, False),
        ("a.wav", {"subtype": "FLOAT"}, False),
        ("a.wav", {"subtype": "ULAW"}, False),
        ("a.flac", {}, True),
        ("a.ogg", {}, False),
        ("a.mp3", {}, False),
        ("a.aiff", {}, True),
    ],
)
def test_every_format_decodes_to_the_same_samples(
    name: str, options: dict[str, str], is_int16: bool, tmp_path: Path
) -> None:
    samples, rate = read(wav(tmp_path, name, **options))
    expected = tone(440)
    assert rate == RATE
    assert samples.dtype == (np.int16 if is_int16 else np.float32)
    assert np.abs(samples * FULL_SCALE if is_int16 else samples).max() == pytest.approx(expected.max(), abs=0.02)
    assert np.corrcoef(samples[: len(expected)], expected[: len(samples)])[0, 1] > 0.99


@pytest.mark.parametrize("scale", [1.0, 3.0, 900.0])
def test_float_audio_may_be_louder_than_1(scale: float, tmp_path: Path) -> None:
    samples, _ = read(wav(tmp_path, samples=tone(440) * scale, subtype="FLOAT"))
    assert np.array_equal(samples, tone(440) * np.float32(scale))


@pytest.mark.parametrize("peak", [1.0, 2.0])
def test_pulses_of_whole_numbers_are_audio(peak: float, tmp_path: Path) -> None:
    pulses = np.zeros(800, np.float32)
    pulses[::50] = peak
    assert np.array_equal(read(wav(tmp_path, samples=pulses, subtype="FLOAT"))[0], pulses)


@pytest.mark.parametrize(
    "name", ["a b.wav", "%s{}.wav", "-leading.wav", "ümläut.wav", "new\nline.wav", "\udcff\udcfe.wav"]
)
def test_odd_names_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(wav(tmp_path).read_bytes())
    assert len(read(tmp_path / name)[0]) == RATE


@pytest.mark.parametrize("name", ["a.raw", "a.txt", "a"])
def test_the_extension_does_not_matter(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(flac(tmp_path).read_bytes())
    assert len(read(tmp_path / name)[0]) == RATE


def test_a_window_equals_the_same_part_of_the_whole_file(tmp_path: Path) -> None:
    path = wav(tmp_path)
    whole, _ = read(path)
    part, _ = read(path, Span(start=0.25, duration=0.5))
    assert np.array_equal(part, whole[4000:12000])


@pytest.mark.parametrize(("position", "first"), [(0.0, 4000), (0.5, 6000), (1.0, 8000)], ids=["start", "centre", "end"])
def test_a_crop_lies_at_its_position_in_the_window(position: float, first: int, tmp_path: Path) -> None:
    path = wav(tmp_path)
    whole, _ = read(path)
    part, _ = read(path, Span(start=0.25, duration=0.5, max_seconds=0.25, crop_position=position))
    assert np.array_equal(part, whole[first : first + 4000])


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(), (0, 100)),
        (Span(start=2.0), (20, 80)),
        (Span(start=2.0, duration=3.0), (20, 30)),
        (Span(start=9.0, duration=3.0), (90, 10)),
        (Span(max_seconds=4.0, crop_position=0.5), (30, 40)),
        (Span(start=2.0, duration=3.0, max_seconds=1.0, crop_position=1.0), (40, 10)),
        (Span(start=9.0, max_seconds=4.0, crop_position=1.0), (90, 10)),
    ],
)
def test_a_span_in_samples(span: Span, expected: tuple[int, int]) -> None:
    assert span.in_samples(sample_rate=10, total=100) == expected


def test_a_window_shorter_than_the_crop_is_read_whole(tmp_path: Path) -> None:
    path = wav(tmp_path)
    assert len(read(path, Span(start=0.75, max_seconds=9.0, crop_position=0.5))[0]) == 4000


def test_a_truncated_file_is_found_by_a_crop_that_reads_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(wav(tmp_path).read_bytes()[:-8000])
    with pytest.raises(AudioError, match="truncated"):
        read(path, Span(max_seconds=9.0))
    assert len(read(path, Span(max_seconds=0.25))[0]) == 4000


def test_a_window_past_the_end_is_cut(tmp_path: Path) -> None:
    assert len(read(wav(tmp_path), Span(start=0.75, duration=9))[0]) == 4000


def test_a_window_that_begins_past_the_end_is_too_short(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="too_short"):
        read(wav(tmp_path), Span(start=2.0))


@pytest.mark.parametrize(("subtype", "error"), [("FLOAT", 1e-6), ("PCM_16", 2**-15)])
def test_channels_are_averaged(subtype: str, error: float, tmp_path: Path) -> None:
    left, right = tone(440), tone(600)
    samples, _ = read(wav(tmp_path, samples=np.stack([left, right], axis=1), subtype=subtype))
    assert samples.dtype == np.float32
    assert np.allclose(samples, (left + right) / 2, atol=error)


@pytest.mark.parametrize("channels", [2, 3, 5, 7, 8, 9, MAX_CHANNELS])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_the_average_of_channels_is_the_mean_to_the_last_bit(channels: int, subtype: str, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (800, channels)).astype(np.float32)
    path = wav(tmp_path, samples=sound, subtype=subtype)
    assert np.array_equal(read(path)[0], soundfile.read(path, dtype="float32")[0].mean(axis=1))


CONTAINERS: dict[str, dict[str, object]] = {
    "WAV": {"format": "WAV"},
    "FLAC": {"format": "FLAC"},
    "OGG": {"format": "OGG"},
    "Opus": {"format": "OGG", "subtype": "OPUS"},
    "MP3": {"format": "MP3"},
    "float": {"format": "WAV", "subtype": "FLOAT"},
    "ADPCM": {"format": "WAV", "subtype": "IMA_ADPCM"},
    "GSM, which cannot seek": {"format": "WAV", "subtype": "GSM610"},
    "G.721, which cannot seek": {"format": "AU", "subtype": "G721_32"},
}
SPANS = [
    Span(),
    Span(start=0.4),
    Span(start=0.4, duration=0.33),
    Span(start=0.1, duration=0.8, max_seconds=0.5, crop_position=0.5),
    Span(start=0.9, duration=9.0),
]


def seconds_in_blocks(path: Path, span: Span, seconds: float) -> list[Samples]:
    return list(blocks(path, span, seconds=seconds))


@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("seconds", [0.11, 0.25, 100.0])
def test_the_blocks_together_are_what_is_read_at_once(kind: str, seconds: float, tmp_path: Path) -> None:
    channels = 1 if "seek" in kind else 2
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (RATE, channels))
    path = wav(tmp_path, "sound", noise, **CONTAINERS[kind])
    for span in SPANS:
        whole, rate = read(path, span)
        parts = seconds_in_blocks(path, span, seconds)
        assert np.array_equal(np.concatenate(parts), whole)
        assert {part.dtype for part in parts} == {whole.dtype}
        assert [len(part) for part in parts[:-1]] == [round(seconds * rate)] * (len(parts) - 1)


@pytest.mark.parametrize("kind", [kind for kind in CONTAINERS if "seek" in kind])
def test_a_window_of_a_format_that_cannot_seek(kind: str, tmp_path: Path) -> None:
    path = wav(tmp_path, "sound", **CONTAINERS[kind])
    assert np.array_equal(read(path, Span(start=0.5, duration=0.25))[0], read(path)[0][8000:12000])


@pytest.mark.parametrize("kind", KIT)
def test_blocks_raise_the_errors_of_read(kind: str, tmp_path: Path) -> None:
    reason, make = KIT[kind]
    with pytest.raises(AudioError) as caught:
        seconds_in_blocks(make(tmp_path), Span(), 0.1)
    assert caught.value.reason == reason


def test_the_memory_of_blocks_does_not_depend_on_the_length(tmp_path: Path) -> None:
    path = wav(tmp_path, samples=np.zeros((RATE * 300, 2), dtype=np.int16))
    tracemalloc.start()
    try:
        assert sum(len(block) for block in blocks(path, seconds=1.0)) == RATE * 300
        assert tracemalloc.get_traced_memory()[1] < 1e6  # bytes; the whole file as mono has 19 MB
    finally:
        tracemalloc.stop()
