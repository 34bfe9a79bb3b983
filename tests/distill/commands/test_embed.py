"""Embedding a data set into a store."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import distill
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
