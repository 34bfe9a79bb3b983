"""Embedding a data set into a store."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
from distill.cli.shell import main
from distill.data.errors import StoreError, UserError


def test_a_store_has_the_embeddings_of_the_teacher(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(5)
    store = distill.embed(str(data), str(tmp_path / "store"), teacher="spectral", dtype="float32", workers=0)
    clip = store.ids[3]
    waveform, rate = soundfile.read(data / clip, dtype="float32")
    alone = distill.create_teacher("spectral").embed(waveform, rate).clip
    np.testing.assert_allclose(store[[clip]], alone, rtol=1e-4, atol=1e-4)
    assert f"5 embeddings of {store.dim} numbers in {tmp_path / 'store'}" in capsys.readouterr().out


def test_a_second_call_embeds_only_what_is_missing(
    sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = str(sounds(5)), str(tmp_path / "store")
    first = distill.embed(data, out, teacher="spectral", workers=0).read_all()
    kind = type(distill.create_teacher("spectral"))
    encode, seconds = kind.encode, []

    def record(self: distill.Teacher, batch: distill.AudioBatch) -> distill.Embeddings:
        seconds.append(batch.waveform.shape[1] / batch.sample_rate)
        return encode(self, batch)

    monkeypatch.setattr(kind, "encode", record)
    np.testing.assert_array_equal(distill.embed(data, out, teacher="spectral", workers=0).read_all(), first)
    assert set(seconds) == {2.0}  # noise, by which the sizes are measured; all clips are shorter
    with pytest.raises(StoreError, match="crop"):
        distill.embed(data, out, teacher="spectral", crop=distill.Crop(0.2), workers=0)


def test_a_clip_that_cannot_be_read_is_listed(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(3)
    (data / "empty.wav").touch()
    store = distill.embed(str(data), str(tmp_path / "store"), teacher="spectral", workers=0)
    assert len(store) == 3
    with open(tmp_path / "store" / "set_aside.csv", newline="") as file:
        assert [(row["id"], row["reason"]) for row in csv.DictReader(file)] == [("empty.wav", "empty_file")]


def test_one_encoder_must_be_named(sounds: Callable[..., Path], tmp_path: Path) -> None:
    for encoders in ({}, {"teacher": "spectral", "model": "run"}):
        with pytest.raises(UserError, match="either --teacher NAME or --model RUN"):
            distill.embed(str(sounds(2)), str(tmp_path / "store"), **encoders)
    assert not (tmp_path / "store").exists()


def test_each_window_has_a_row_and_its_times(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, out = sounds(3, seconds=2.4), tmp_path / "store"
    (data / "class0" / "broken.wav").write_bytes(b"no sound")
    teacher = distill.create_teacher("spectral", windows=distill.Windows(1.0, hop=0.0))
    store = distill.embed(str(data), str(out), teacher=teacher, windows=True, dtype="float32", workers=0)
    assert list(store.ids)[:3] == ["class0/000.wav@0", "class0/000.wav@1", "class0/000.wav@2"]
    assert [clip.id for clip in store.set_aside] == ["class0/broken.wav"]
    waveform, rate = soundfile.read(data / "class0/000.wav", dtype="float32")
    for start in (0, 1, 2):
        alone = teacher.embed(waveform[start * rate : (start + 1) * rate], rate).clip
        np.testing.assert_allclose(store[[f"class0/000.wav@{start}"]], alone, rtol=1e-4, atol=1e-4)
    with open(out / "windows.csv", newline="") as file:
        times = {row["id"]: (float(row["start"]), float(row["end"])) for row in csv.DictReader(file) if row["end"]}
    assert times["class0/000.wav@2"] == (2.0, 2.4)
    assert times.keys() == set(store.ids)
    before = store.read_all()
    again = distill.embed(str(data), str(out), teacher=teacher, windows=True, dtype="float32", workers=0)
    np.testing.assert_array_equal(again.read_all(), before)


def test_windows_are_options_of_the_command(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(2, seconds=2.4))
    words = ["embed", "--teacher", "spectral", "--data", data, "--workers=0", "--out"]
    rows = {}
    for name, options in {
        "own": ["--windows"],
        "seconds": ["--windows", "1.1"],
        "both": ["--windows.seconds=1", "--windows.hop=0.5"],
    }.items():
        main([*words, str(tmp_path / name), *options])
        rows[name] = [clip for clip in distill.Precomputed(tmp_path / name).store.ids if clip.startswith("class0")]
    assert [len(ids) for ids in rows.values()] == [1, 3, 5]
    assert rows["seconds"][1] == "class0/000.wav@1"
    assert rows["both"][4] == "class0/000.wav@2"
