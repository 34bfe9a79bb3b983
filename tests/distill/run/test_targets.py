"""Stored embeddings from which nothing can be learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import distill
from distill.data.clips.sources import Data, read_manifest
from distill.data.errors import UserError
from distill.run.targets import check_clips, is_constant, usable_clips


class Constant(distill.Teacher):
    """A teacher with one embedding for all clips, of which those of `broken` ids are not finite."""

    sample_rate = 16_000
    weights = None

    def __init__(self, broken: float = 0.0) -> None:
        super().__init__()
        self.broken = broken

    def encode(self, batch: distill.AudioBatch) -> distill.Embeddings:
        clips = torch.full((len(batch), 4), 3.0)
        if self.broken:
            level = batch.waveform.abs().amax(1)
            clips = level[:, None] * torch.arange(1.0, 5.0)
            clips[level < self.broken] = torch.nan
        return distill.Embeddings.of_clip(clips)


def test_equal_rows_are_constant_and_others_are_not() -> None:
    row = np.random.default_rng(0).standard_normal((1, 8)).astype(np.float16)
    assert is_constant(np.repeat(row, 5, 0))
    assert not is_constant(np.repeat(row, 5, 0) + np.linspace(0, 0.01, 5)[:, None])
    assert is_constant(np.zeros((5, 8)))


def test_one_clip_is_refused_and_ten_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="at least 2"):
        check_clips(1)
    check_clips(10)
    assert "10 clips are very few" in capsys.readouterr().out
    check_clips(1000)
    assert not capsys.readouterr().out


def fit(data: Path, out: Path, teacher: distill.Teacher) -> distill.Student:
    return distill.fit(
        teacher=teacher, student="tests.own_parts.TinyConvolution", data=str(data), out=str(out), max_steps=3,
        engine={"accelerator": "cpu", "workers": 0},
    )  # fmt: skip


def test_a_teacher_with_one_embedding_for_all_clips_is_refused(sounds: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the same embedding for all of 8 clips"):
        fit(sounds(8), tmp_path / "run", distill.create_teacher(Constant))
    assert not (tmp_path / "run" / "student").exists()


@pytest.mark.filterwarnings("ignore:Constant breaks the contract")
def test_clips_whose_embedding_is_not_finite_are_set_aside(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(sounds(12), tmp_path / "run", distill.create_teacher(Constant, broken=0.36))
    assert "not_finite" in capsys.readouterr().out
    assert "not_finite" in (tmp_path / "run" / "set_aside.csv").read_text()
    with pytest.raises(UserError, match=r"none of 12 clips could be embedded.*not_finite"):
        fit(tmp_path / "sounds", tmp_path / "all", distill.create_teacher(Constant, broken=9.0))


def test_clips_that_a_store_misses_are_not_used(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(3)
    store = distill.embed(str(data), str(tmp_path / "store"), teacher="spectral", workers=0)
    (data / "class0" / "later.wav").write_bytes((data / store.ids[0]).read_bytes())
    manifest = read_manifest(Data(str(data)))
    assert sorted(usable_clips(manifest, [store]).ids) == sorted(store.ids)
    assert "1 of 4 clips are missing from the stores and are not used, 'class0/later.wav'" in capsys.readouterr().out
    assert usable_clips(manifest, []).ids == manifest.ids
    later = np.flatnonzero([name not in store for name in manifest.ids])
    with pytest.raises(UserError, match="none of its clips is in"):
        usable_clips(manifest.take(later), [store])


def test_clips_without_all_their_views_are_not_used(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(3))
    store = distill.embed(data, str(tmp_path / "store"), teacher="spectral", views=2, workers=0)
    manifest = read_manifest(Data(data))
    for count in (1, 2):
        assert usable_clips(manifest, [store], distill.Views(count)).ids == manifest.ids
    with pytest.raises(UserError, match="none of its clips is in"):
        usable_clips(manifest, [store], distill.Views(3))
