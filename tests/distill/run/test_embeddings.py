"""Stores of embeddings: what they go on with, and their fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import distill
from distill.data.clips import dataset
from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.sources import read_manifest
from distill.data.errors import StoreError, UserError
from distill.data.store.reader import EmbeddingStore
from distill.run.filling import batches_of
from tests.conftest import GOLDEN, tone
from tests.distill.run.test_identity import trained
from tests.own_parts import Loudness


def test_embed_goes_on_and_refuses_another_encoder(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(6))
    first = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0).read_all()
    again = distill.embed(data, str(tmp_path / "s"), teacher="spectral", workers=0, batch_size=1).read_all()
    assert np.array_equal(first, again)
    ast = {"class_path": "ast", "init_args": {"checkpoint": str(GOLDEN / "ast" / "ast_tiny")}}
    with pytest.raises(UserError, match="encoder is 'spectral', not 'ast'"):
        distill.embed(data, str(tmp_path / "s"), teacher=ast, workers=0)
    with pytest.raises(UserError, match=r"crop_seconds is 10\.0, not 0\.2"):
        distill.embed(data, str(tmp_path / "s"), teacher="spectral", crop=distill.Crop(0.2), workers=0)


def test_whole_clips_of_unequal_length_are_not_all_padded_to_the_longest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, seconds in enumerate((0.2, 0.3, 4.0, 0.2, 0.1, 0.1, 0.1)):
        soundfile.write(tmp_path / f"{number}.wav", tone(400 + 50 * number, seconds), 16_000)
    (tmp_path / "5.wav").write_bytes(b"no sound")
    clips = ClipDataset(read_manifest(tmp_path), 16_000, Crop(0))
    together = distill.embed(str(tmp_path), str(tmp_path / "a"), teacher="spectral", crop=Crop(0), workers=0)
    monkeypatch.setattr("distill.run.filling._BATCH_SECONDS", 2.0)
    assert list(batches_of(clips, range(7), 3)) == [range(2), range(2, 3), range(3, 6), range(6, 7)]
    apart = distill.embed(str(tmp_path), str(tmp_path / "b"), teacher="spectral", crop=Crop(0), workers=0)
    assert apart.ids == together.ids
    assert [clip.id for clip in apart.set_aside] == ["5.wav"]
    assert np.allclose(apart.read_all(), together.read_all(), atol=1e-3)


def test_a_store_goes_on_only_with_the_encoder_and_the_input_that_it_began_with(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    table, out = sounds(3, seconds=0.2) / "clips.csv", str(tmp_path / "store")
    table.write_text("id,path,start\na,class0/000.wav,0\nb,class1/001.wav,0.05\n")

    def embed(teacher: distill.Teacher, crop: Crop = Crop()) -> EmbeddingStore:
        return distill.embed(str(table), out, teacher=teacher, crop=crop, workers=0, device="cpu")

    first = embed(trained(0.5)).read_all()
    assert np.array_equal(embed(trained(0.5)).read_all(), first)
    with pytest.raises(StoreError, match="other embeddings than requested: weights is '"):
        embed(trained(0.25))
    slow = trained(0.5)
    slow.sample_rate = 8_000
    with pytest.raises(StoreError, match=r"requested: sample_rate is 16000, not 8000\. "):
        embed(slow)
    with pytest.raises(StoreError, match=r"crop_position is 'centre', not 'start'; crop_seconds is 10\.0, not 0\.1\."):
        embed(trained(0.5), Crop(0.1, "start"))
    table.write_text(table.read_text().replace("0.05", "0.1"))
    changed = embed(trained(0.5)).read_all()
    assert np.array_equal(changed[0], first[0])
    assert not np.array_equal(changed[1], first[1])


@pytest.mark.parametrize("policy", ["RESAMPLER", "CHANNEL_POLICY"])
def test_a_store_is_not_gone_on_with_by_a_version_that_decodes_otherwise(
    policy: str, sounds: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"data": str(sounds(2, seconds=0.2)), "out": str(tmp_path / "store"), "workers": 0}
    distill.embed(teacher=distill.create_teacher(Loudness), **options)
    monkeypatch.setattr(dataset, policy, "another")
    with pytest.raises(StoreError, match=r"requested: (resampler|channels) is '[^']*', not 'another'"):
        distill.embed(teacher=distill.create_teacher(Loudness), **options)
