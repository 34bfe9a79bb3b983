"""Short sounds for a page."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from distill.data.clips.sources import read_manifest
from distill.run.listening import excerpts
from tests.conftest import tone


def test_an_excerpt_is_three_seconds_from_the_middle(tmp_path: Path) -> None:
    samples = np.concatenate([tone(300, 4), tone(1500, 3), tone(300, 4)])
    (tmp_path / "a").mkdir()
    soundfile.write(tmp_path / "a" / "x.wav", samples, 16_000)
    (sound,) = excerpts(read_manifest(tmp_path / "a"))
    found, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 24_000
    assert abs(len(found) / rate - 3) < 0.2
    spectrum = np.abs(np.fft.rfft(found))
    assert abs(spectrum.argmax() * rate / len(found) - 1500) < 5
    assert len(sound) < 40_000


def test_unreadable_clips_and_those_beyond_the_limit_have_none(sounds: Callable[..., Path]) -> None:
    folder = sounds(4)
    (folder / "class0" / "000.wav").write_bytes(b"RIFF")
    manifest = read_manifest(folder)
    every = excerpts(manifest)
    assert [bool(sound) for sound in every] == [row.id != "class0/000.wav" for row in manifest.rows]
    base64_bytes = [-(-len(sound) // 3) * 4 for sound in every]
    limited = excerpts(manifest, max_bytes=sum(base64_bytes[:3]))
    assert limited == [*every[:3], b""]
    assert excerpts(manifest, max_bytes=sum(base64_bytes[:3]) - 1) == [*every[:2], b"", b""]
