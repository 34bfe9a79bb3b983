"""Views of clips: pure functions of the seed, the name of the clip and their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.views import View, Views, clip_name, view_name
from distill.data.clips.windows import in_views
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws

RATE = 8_000
VIEWS = Views(4, gain=6.0, roll=True, seed=3)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return two files of one second: one of 16 bits and one of 32, at different rates."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", np.repeat(noise, 2), 2 * RATE, subtype="FLOAT")
    return Manifest(tmp_path, [Row(name, tmp_path / name) for name in ("a.wav", "b.wav")])


def test_a_view_depends_on_seed_name_and_number_only() -> None:
    first = VIEWS.view("a.wav", 1)
    assert first == Views(9, gain=6.0, roll=True, seed=3).view("a.wav", 1)  # not on the number of views
    others = {VIEWS.view("a.wav", 2), VIEWS.view("b.wav", 1), Views(4, gain=6.0, roll=True, seed=4).view("a.wav", 1)}
    assert len(others | {first}) == 4
    assert VIEWS.view("a.wav", 0) is None
    assert first is not None
    assert Views(4, seed=3).view("a.wav", 1) == View(first.position)  # an option does not change the other numbers


def test_positions_levels_and_rolls_cover_their_ranges() -> None:
    views = [view for number in range(400) if (view := VIEWS.view(f"{number}.wav", 1 + number % 3))]
    decibels = 20 * np.log10([view.gain for view in views])
    assert decibels.min() == pytest.approx(-6, abs=0.2)
    assert decibels.max() == pytest.approx(6, abs=0.2)
    for values in ([view.position for view in views], [view.roll for view in views]):
        assert min(values) >= 0 > max(values) - 1
        assert np.ptp(values) > 0.98
        assert abs(np.corrcoef(values, decibels)[0, 1]) < 0.15


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_samples_are_rotated_and_scaled(dtype: torch.dtype) -> None:
    samples = torch.arange(10, dtype=dtype)
    scale = 2 / 2**15 if dtype == torch.int16 else 2
    expected = torch.tensor([3.0, 4, 5, 6, 7, 8, 9, 0, 1, 2]) * scale
    torch.testing.assert_close(View(0.5, 2.0, 0.39).change(samples), expected)


def test_a_run_draws_every_view_and_the_same_again() -> None:
    drawn = [VIEWS.drawn(0, draw) for draw in range(2000)]
    assert drawn == [VIEWS.drawn(0, draw) for draw in range(2000)]
    assert drawn != [VIEWS.drawn(1, draw) for draw in range(2000)]
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 2000, 0.25, atol=0.04)
    assert {Views().drawn(0, draw) for draw in range(50)} == {0}


@pytest.mark.parametrize("seconds", [0.25, 5.0])  # a part of the clip, and all of it
def test_a_batch_of_a_run_has_the_sound_of_the_rows_with_its_ids(seconds: float, manifest: Manifest) -> None:
    crop = Crop(seconds)
    run = ClipDataset(manifest, RATE, crop, seed=7, views=VIEWS)
    stored = ClipDataset(in_views(manifest, VIEWS), RATE, crop)
    places = {row.id: place for place, row in enumerate(stored.manifest.rows)}
    seen = set()
    for draw in range(40):
        batch = run.__getitems__(Draws([0, 1], [2 * draw, 2 * draw + 1])).batch
        assert batch is not None
        seen.update(batch.ids)
        again = stored.__getitems__(Draws([places[name] for name in batch.ids], [0, 0])).batch
        assert again is not None
        assert again.ids == batch.ids
        assert torch.equal(again.waveform, batch.waveform)
    assert seen == set(places)
    clean = ClipDataset(manifest, RATE, crop)[0].batch
    assert clean is not None
    for name in ("a.wav@view1", "a.wav@view2"):  # the crop of a view is another one, or the whole clip rotated
        view = stored[places[name]].batch
        assert view is not None
        assert view.waveform.shape == clean.waveform.shape
        assert not torch.allclose(view.waveform, clean.waveform, atol=1e-3)
    same = stored[places["a.wav"]].batch
    assert same is not None
    assert torch.equal(same.waveform, clean.waveform)


def test_a_view_is_a_crop_with_level_and_rotation(manifest: Manifest) -> None:
    views, seconds = in_views(manifest, VIEWS), 0.25
    whole, _ = soundfile.read(manifest.rows[0].path)
    view = VIEWS.view("a.wav", 2)
    assert view is not None
    count = int(seconds * RATE)
    begin = round((len(whole) - count) * view.position)
    crop = np.roll(whole[begin : begin + count], -int(view.roll * count)) * view.gain
    place = list(views.ids).index("a.wav@view2")
    batch = ClipDataset(views, RATE, Crop(seconds))[place].batch
    assert batch is not None
    found = batch.waveform[0].numpy()
    shifts = [
        np.roll(whole[begin + shift : begin + shift + count], -int(view.roll * count)) * view.gain
        for shift in (-1, 0, 1)
        if 0 <= begin + shift <= len(whole) - count
    ]
    assert crop.shape == found.shape
    assert min(np.abs(found - shifted).max() for shifted in shifts) < 1e-4  # the first sample may be rounded down


def test_a_broken_clip_is_set_aside_by_the_name_of_the_clip(tmp_path: Path) -> None:
    (tmp_path / "c.wav").write_bytes(b"no sound")
    clips = ClipDataset(Manifest(tmp_path, [Row("c.wav", tmp_path / "c.wav")]), RATE, Crop(), views=VIEWS)
    assert {clips.__getitems__(Draws([0], [draw])).set_aside[0].id for draw in range(20)} == {"c.wav"}


def test_rows_of_views_have_names_and_keep_their_columns(tmp_path: Path) -> None:
    rows = [Row("a.wav", tmp_path / "a.wav", 1.0, 2.0, ("x",), "test", domain="d"), Row("b", tmp_path / "b.wav")]
    manifest = Manifest(tmp_path, rows)
    assert in_views(manifest, Views()) is manifest
    viewed = in_views(manifest, Views(2, seed=5))
    assert list(viewed.ids) == ["a.wav", "a.wav@view1", "b", "b@view1"]
    view = Views(2, seed=5).view("a.wav", 1)
    assert viewed.rows[1] == Row("a.wav@view1", tmp_path / "a.wav", 1.0, 2.0, ("x",), "test", domain="d", view=view)
    assert viewed.take(np.array([3, 1])).rows[1] == viewed.rows[1]
    assert next(iter(viewed.rows)) == rows[0]
    with pytest.raises(UserError, match="has the name of a view"):
        in_views(viewed, Views(2))


def test_names_of_views_are_read_back() -> None:
    assert [view_name("a@b.wav", number) for number in (0, 12)] == ["a@b.wav", "a@b.wav@view12"]
    assert [clip_name(name) for name in ("a.wav@view12", "a.wav", "a@view1.wav")] == ["a.wav", "a.wav", "a@view1.wav"]


@pytest.mark.parametrize("options", [{"count": 0}, {"gain": -1.0}, {"gain": float("nan")}, {"seed": -1}])
def test_wrong_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"views.{next(iter(options))}"):
        Views(**{"count": 2, **options})  # type: ignore[arg-type]
