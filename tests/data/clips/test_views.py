"""Views of clips: pure functions of the seed, the name of the clip and their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from distill.data.clips.dataset import ClipDataset, Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.data.clips.views import ClipViews, View, Views, clip_name, view_name
from distill.data.clips.windows import in_views
from distill.data.errors import UserError
from distill.data.sampling.batches import Draws
from distill.data.store.texts import Texts
from tests.data.clips.containers.tars import sound, write_tar

RATE = 8_000
VIEWS = Views(4, gain=6.0, roll=True, seed=3)
MIXED = Views(4, gain=6.0, roll=True, seed=3, mixup=1.0)


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Return two files of one second: one of 16 bits and one of 32, at different rates."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(tmp_path / "a.wav", noise, RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", np.repeat(noise, 2), 2 * RATE, subtype="FLOAT")
    rows = [Row(name, tmp_path / name, labels=(label,)) for name, label in (("a.wav", "x"), ("b.wav", "y"))]
    return Manifest(tmp_path, rows)


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


def partners(views: Views, names: list[str]) -> list[dict[str, str]]:
    """Return the partner of each clip by name, for each view from the second on."""
    found = views.partners(Texts.of(names))
    assert (found[:, 0] == -1).all()
    return [{name: names[place] for name, place in zip(names, column, strict=True)} for column in found.T[1:].tolist()]


def test_each_clip_is_the_partner_of_one_other_clip_in_each_view() -> None:
    names = [f"{number}.wav" for number in range(50)]
    views = partners(MIXED, names)
    for found in views:
        assert sorted(found.values()) == sorted(names)
        assert not any(name == partner for name, partner in found.items())
    assert partners(MIXED, names[::-1]) == views  # the order of the clips does not matter
    pairs = {(name, partner) for found in views for name, partner in found.items()}
    assert len(pairs) > 140  # of 150


def test_a_further_clip_changes_the_partner_of_one_clip() -> None:
    names = [f"{number}.wav" for number in range(50)]
    for before, after in zip(partners(MIXED, names), partners(MIXED, [*names, "new.wav"]), strict=True):
        changed = [name for name in names if before[name] != after[name]]
        assert [after[name] for name in changed] == ["new.wav"]
        assert after["new.wav"] == before[changed[0]]


def test_shares_are_drawn_like_those_of_mixup_and_never_change() -> None:
    shares = np.array([view.share for number in range(400) if (view := MIXED.view(f"{number}.wav", 1))])
    np.testing.assert_allclose(np.quantile(shares, [0, 0.25, 0.5, 0.75, 1]), [0.5, 0.625, 0.75, 0.875, 1], atol=0.04)
    for mixup, mean in ((0.1, 0.93), (1000.0, 0.51)):
        drawn = [view.share for number in range(400) if (view := Views(4, mixup=mixup).view(f"{number}.wav", 1))]
        assert np.mean(drawn) == pytest.approx(mean, abs=0.02)
    view = MIXED.view("a.wav", 1)
    assert view is not None
    np.testing.assert_allclose(  # a store of today must have the same sound with every NumPy
        [view.position, view.gain, view.roll, view.share],
        [0.3487549467439294, 0.547845510077451, 0.2524938847536903, 0.6670411775198606],
        rtol=1e-12,
    )
    assert view._replace(share=1.0) == VIEWS.view("a.wav", 1)


@pytest.mark.parametrize("seconds", [0.25, 5.0])  # a part of the clip, and all of it
def test_a_mixture_is_the_sum_of_the_views_of_two_clips(seconds: float, manifest: Manifest) -> None:
    plain = ClipDataset(in_views(manifest, VIEWS), RATE, Crop(seconds), ("x", "y"))
    mixed = ClipDataset(in_views(manifest, MIXED), RATE, Crop(seconds), ("x", "y"))
    for place, row in enumerate(mixed.manifest.rows):
        other = (place + 4) % 8  # the view of the same number of the other clip
        own, partner, batch = plain[place].batch, plain[other].batch, mixed[place].batch
        assert own is not None
        assert partner is not None
        assert batch is not None
        assert batch.ids == own.ids
        share = row.view.share if row.view else 1.0
        longest = max(own.waveform.shape[1], partner.waveform.shape[1]) if row.view else own.waveform.shape[1]
        padded = [
            torch.nn.functional.pad(one.waveform, (0, max(0, longest - one.waveform.shape[1])))[:, :longest]
            for one in (own, partner)
        ]
        expected = share * padded[0] + (1 - share) * padded[1]
        torch.testing.assert_close(batch.waveform, expected, rtol=0, atol=1e-6)
        assert batch.lengths.tolist() == [longest]
        torch.testing.assert_close(batch.labels, share * own.labels + (1 - share) * partner.labels)


def test_a_view_whose_partner_cannot_be_read_is_set_aside(manifest: Manifest) -> None:
    manifest.rows[1].path.write_bytes(b"no sound")  # type: ignore[union-attr]
    loaded = ClipDataset(in_views(manifest, MIXED), RATE, Crop(0.25)).__getitems__(Draws(range(4), range(4)))
    assert loaded.batch is not None
    assert loaded.batch.ids == ("a.wav",)
    assert {aside.id for aside in loaded.set_aside} == {f"a.wav@view{number}" for number in (1, 2, 3)}
    assert {aside.reason for aside in loaded.set_aside} == {"unrecognised_format"}
    assert all(aside.detail.startswith("it is mixed with b.wav: ") for aside in loaded.set_aside)


def test_a_run_uses_the_clip_itself_where_a_partner_is_missing(manifest: Manifest) -> None:
    known = np.array([[-1, 1, -1, 1], [-1, 0, 0, 0]], np.int32)
    clips = ClipViews(manifest.rows, MIXED, known)
    drawn = [{clips.drawn(place, 0, draw) for draw in range(100)} for place in (0, 1)]
    assert drawn == [{0, 1, 3}, {0, 1, 2, 3}]


def test_windows_of_files_and_sounds_in_tars_are_mixed(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"a.flac": sound(300), "b.flac": sound(500)})
    inside = read_manifest(tmp_path / "a.tar")
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
    windows = [Row(f"a.wav@{start}", tmp_path / "a.wav", start, 0.25) for start in (0.0, 0.5)]
    for manifest in (inside, Manifest(tmp_path, windows)):
        plain, mixed = (ClipDataset(in_views(manifest, views), RATE, Crop(5.0)) for views in (VIEWS, MIXED))
        own, other, mixture = (loaded.batch for loaded in (plain[1], plain[5], mixed[1]))
        view = mixed.manifest.rows[1].view
        assert own is not None
        assert other is not None
        assert mixture is not None
        assert view is not None
        expected = view.share * own.waveform + (1 - view.share) * other.waveform
        torch.testing.assert_close(mixture.waveform, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("views", [VIEWS, MIXED])
@pytest.mark.parametrize("seconds", [0.25, 5.0])  # a part of the clip, and all of it
def test_a_batch_of_a_run_has_the_sound_of_the_rows_with_its_ids(
    seconds: float, views: Views, manifest: Manifest
) -> None:
    crop = Crop(seconds)
    mates = views.partners(manifest.ids) if views.mixup else None
    run = ClipDataset(manifest, RATE, crop, seed=7, views=views, partners=mates)
    stored = ClipDataset(in_views(manifest, views), RATE, crop)
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


def test_one_clip_cannot_be_mixed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--views.mixup: .* has one clip, and none to mix it with"):
        in_views(Manifest(tmp_path, [Row("a.wav", tmp_path / "a.wav")]), MIXED)


def test_a_store_without_mixup_has_the_fingerprint_of_earlier_versions() -> None:
    earlier = {"count": 4, "gain": 6.0, "roll": True, "seed": 3}
    assert VIEWS.as_fingerprint() == earlier
    assert MIXED.as_fingerprint() == {**earlier, "mixup": 1.0}
    for views in (VIEWS, MIXED):
        assert Views.of_store({"views": views.as_fingerprint()}) == views


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"gain": -1.0}, {"gain": float("nan")}, {"seed": -1}, {"mixup": -1.0}, {"mixup": 2000.0}]
)
def test_wrong_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"views.{next(iter(options))}"):
        Views(**{"count": 2, **options})  # type: ignore[arg-type]
