"""Clips that are decoded at once are those that are decoded one by one, their faults included."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from distill.data.audio.read import Span, read
from distill.data.clips import decoding
from distill.data.clips.decoding import decode_all
from distill.data.clips.manifest import Row
from distill.data.errors import AudioError

RATE = 8_000


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Return FLAC files of which the fourth has no audio, the sixth is missing and the eighth is cut off."""
    paths = [tmp_path / f"{number}.flac" for number in range(10)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).standard_normal(RATE + number) * 0.1
        soundfile.write(path, noise, RATE)
    paths[3].write_bytes(b"no audio at all" * 100)
    paths[5].unlink()
    paths[7].write_bytes(paths[7].read_bytes()[:3000])
    return paths


def alone(path: Path, span: Span) -> tuple[np.ndarray, int] | AudioError:
    try:
        return read(path, span)
    except AudioError as error:
        return error


def test_each_clip_and_each_fault_is_that_of_its_file(paths: list[Path], threads: int) -> None:
    rows = [Row(path.name, path) for path in paths]
    spans = [Span(start=0.01 * number, max_seconds=0.5) for number in range(len(rows))]
    faults = []
    for number, found in enumerate(decode_all(rows, spans)):
        expected = alone(paths[number], spans[number])
        assert isinstance(found, AudioError) == isinstance(expected, AudioError)
        if isinstance(found, AudioError) and isinstance(expected, AudioError):
            assert (found.reason, found.detail) == (expected.reason, expected.detail)
            faults.append(number)
        elif not isinstance(found, AudioError) and not isinstance(expected, AudioError):
            np.testing.assert_array_equal(found[0], expected[0])
            assert found[1] == expected[1] == RATE
    assert faults == [3, 5, 7]


@pytest.mark.parametrize(("suffix", "at_once"), [("flac", True), ("WAV", False)])
def test_compressed_clips_are_decoded_in_as_many_threads_as_torch_uses(
    suffix: str, at_once: bool, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, decoders = tmp_path / f"a.{suffix}", set()
    soundfile.write(path, np.zeros(RATE), RATE)
    both_began = threading.Barrier(2, timeout=10)

    def read_in_thread(*given: object) -> tuple[np.ndarray, int]:
        decoders.add(threading.current_thread())
        if at_once and threads == 2:
            both_began.wait()
        return np.zeros(1, np.float32), RATE

    monkeypatch.setattr(decoding, "read", read_in_thread)
    assert len(decode_all([Row("a", path), Row("b", path)], [Span(), Span()])) == 2
    assert len(decoders) == (2 if at_once and threads == 2 else 1)
    assert (threading.main_thread() in decoders) == (not at_once or threads == 1)
