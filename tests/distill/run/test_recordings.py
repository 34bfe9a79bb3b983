"""Stores of clips that are too long for the memory."""

from __future__ import annotations

import itertools
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import distill
from distill.data.audio import read as reading
from distill.data.clips.dataset import Crop, Seconds
from distill.data.clips.sources import read_manifest
from distill.data.encoders.encoder import Encoder
from distill.data.store.reader import EmbeddingStore
from distill.run.embeddings import Upkeep, fill_store
from distill.run.recordings import longest_at_once
from distill.run.resuming import Stopped
from tests.data.encoders.test_recordings import Steps

RATE = 2_000  # the encoder has 1 kHz


_NONE = distill.Windows(seconds=0)


class Level(Steps, distill.Teacher):
    """The teacher of the tests: mean and level of each 0.1 s."""

    def __init__(self, windows: distill.Windows = _NONE) -> None:
        distill.Teacher.__init__(self, windows)
        self.largest, self.scale = 0, torch.nn.Parameter(torch.ones(1))


def write(folder: Path, **seconds: float) -> dict[str, NDArray[np.float32]]:
    folder.mkdir(exist_ok=True)
    waveforms = {}
    for number, (name, length) in enumerate(seconds.items()):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, (round(length * RATE), 2))
        soundfile.write(folder / f"{name}.wav", noise, RATE)
        waveforms[f"{name}.wav"] = soundfile.read(folder / f"{name}.wav", dtype="float32")[0].mean(1)
    return waveforms


def fill(folder: Path, out: Path, encoder: Encoder, crop: Crop = Crop(0), **options: Any) -> EmbeddingStore:
    return fill_store(encoder, read_manifest(folder), out, crop, dtype="float32", workers=0, device="cpu", **options)


@pytest.mark.parametrize("windows", [distill.Windows(seconds=0), distill.Windows(9.97), distill.Windows(20.0, 7.0)])
@pytest.mark.parametrize("frames", [False, True])
def test_long_clips_have_the_embeddings_of_their_waveforms(
    windows: distill.Windows, frames: bool, tmp_path: Path
) -> None:
    waveforms = write(tmp_path / "sounds", a=3.0, b=150.4, c=119.0, d=2.0, e=333.3)
    (tmp_path / "sounds" / "broken.wav").write_bytes(b"no sound")
    whole = (tmp_path / "sounds" / "b.wav").read_bytes()
    (tmp_path / "sounds" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    encoder = Level(windows)
    store = fill(tmp_path / "sounds", tmp_path / "store", encoder, frames=frames)
    assert {clip.id: clip.reason for clip in store.set_aside} == {
        "broken.wav": "unrecognised_format", "cut.wav": "truncated",
    }  # fmt: skip
    assert list(store.ids) == sorted(waveforms)
    for name, waveform in waveforms.items():
        expected = encoder.embed(torch.from_numpy(waveform), RATE)
        np.testing.assert_allclose(store[[name]], expected.clip, atol=1e-5)
        if frames:
            kept = expected.frames[0, expected.frame_mask[0]]
            np.testing.assert_allclose(store.frames([name])[0], kept, atol=1e-5)


@pytest.mark.parametrize(("crop", "first"), [(Crop(130.0), 85.0), (Crop(130.0, "start"), 0.0), (Crop(5.0), 147.5)])
def test_a_long_crop_is_that_part_of_the_file(crop: Crop, first: float, tmp_path: Path) -> None:
    waveform = write(tmp_path / "sounds", a=300.0)["a.wav"]
    encoder = Level(distill.Windows(10.0))
    store = fill(tmp_path / "sounds", tmp_path / "store", encoder, crop)
    begin = round(first * RATE)
    expected = encoder.embed(torch.from_numpy(waveform[begin : begin + round(crop.seconds * RATE)]), RATE)
    np.testing.assert_allclose(store[["a.wav"]], expected.clip, atol=1e-5)


@pytest.mark.parametrize(
    ("crop", "used", "available"), [(Crop(5.0), 11.0, 252.0), (Crop(0), 252.0, 252.0), (Crop(130.0), 132.0, 252.0)]
)
def test_the_sound_that_was_used_is_counted_from_the_headers(
    crop: Crop, used: float, available: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sounds", a=1.0, b=1.0, c=250.0)
    (tmp_path / "sounds" / "broken.wav").write_bytes(b"no sound")
    found: list[Seconds] = []
    opened: list[str] = []
    open_file = reading.open_file

    def watched(path: Path, part: Any) -> Any:
        opened.append(path.name)
        return open_file(path, part)

    monkeypatch.setattr(reading, "open_file", watched)
    if crop.seconds == 5.0:
        used = 7.0
    fill(tmp_path / "sounds", tmp_path / "store", Level(), crop, upkeep=Upkeep(on_sound=found.append))
    assert [pytest.approx(used), pytest.approx(available)] == list(found[0])
    if crop.seconds == 5.0:
        assert sorted(opened) == ["a.wav", "b.wav", "broken.wav", "c.wav"]  # each once


def test_memory_does_not_grow_with_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, sizes = reading._decode, [0]

    def watched(sound: Any, count: int) -> reading.Samples:
        samples = decode(sound, count)
        sizes.append(len(samples))
        return samples

    monkeypatch.setattr(reading, "_decode", watched)
    largest = []
    for seconds in (130.0, 1300.0):
        write(tmp_path / "sounds", a=seconds)
        encoder = Level()
        fill(tmp_path / "sounds", tmp_path / f"store{seconds}", encoder)
        largest.append((max(sizes), encoder.largest))
    assert largest == [(30 * RATE, 80 * 1_000)] * 2


def test_a_signal_stops_within_a_recording_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sounds", a=1.0, b=400.0)
    whole = fill(tmp_path / "sounds", tmp_path / "whole", Level()).read_all()
    encoder = Level()
    encode, calls = encoder.encode, []

    def interrupted(batch: distill.AudioBatch) -> distill.Embeddings:
        calls.append(len(batch))
        if len(calls) == 4:
            signal.raise_signal(signal.SIGTERM)
        return encode(batch)

    monkeypatch.setattr(encoder, "encode", interrupted)
    with pytest.raises(Stopped, match="stopped after 1 of 2 clips"):
        fill(tmp_path / "sounds", tmp_path / "store", encoder)
    assert len(calls) < 5
    monkeypatch.undo()
    np.testing.assert_array_equal(fill(tmp_path / "sounds", tmp_path / "store", Level()).read_all(), whole)


def test_clips_before_a_recording_are_kept_while_it_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "sounds", a=1.0, b=400.0)
    encoder, times = Level(), itertools.count(0.0, 20.0)
    encode, kept = encoder.encode, list[int]()

    def watched(batch: distill.AudioBatch) -> distill.Embeddings:
        kept.append(len(list((tmp_path / "store").glob("*.partial.*"))))
        return encode(batch)

    monkeypatch.setattr(encoder, "encode", watched)
    fill(tmp_path / "sounds", tmp_path / "store", encoder, batch_size=1, upkeep=Upkeep(clock=times.__next__))
    assert kept[-1] == 1


@pytest.mark.parametrize(("windows", "said"), [(_NONE, True), (distill.Windows(20.0), False)])
def test_one_line_says_that_long_clips_are_not_whole(
    windows: distill.Windows, said: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "sounds", a=1.0, b=130.0, c=121.0, d=119.0)
    fill(tmp_path / "sounds", tmp_path / "store", Level(windows))
    line = "2 clips of more than 120 s were embedded in windows of 10 s, whose mean they are: Level has no windows"
    assert (line in capsys.readouterr().out) == said


def test_stored_embeddings_need_no_pieces(tmp_path: Path) -> None:
    write(tmp_path / "sounds", a=130.0)
    fill(tmp_path / "sounds", tmp_path / "store", Level())
    assert longest_at_once(distill.Precomputed(tmp_path / "store")) == float("inf")
