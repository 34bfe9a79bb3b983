"""Stores of views, and runs that train on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import distill
from distill.cli.shell import main
from distill.data.clips.dataset import ClipDataset
from distill.data.clips.sources import read_manifest
from distill.data.errors import StoreError, UserError
from distill.data.sampling.batches import Draws
from distill.data.store.reader import EmbeddingStore
from distill.data.store.stamps import STAMP
from distill.run.job import Job, first_draws
from distill.run.options import FitOptions
from distill.run.targets import usable_clips, usable_partners
from tests.distill.commands.test_fit import ENGINE
from tests.distill.objectives.test_embedding_stores import HERE, SMALL
from tests.own_parts import Loudness

VIEWS = distill.Views(3, gain=6.0, roll=True, seed=2)
MIXED = replace(VIEWS, mixup=1.0)
CROP = distill.Crop(0.2)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in (".lock", ".holder")}


def test_one_view_is_the_store_of_today(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = str(sounds(5))
    distill.embed(data, str(tmp_path / "none"), teacher="spectral", workers=0)
    distill.embed(data, str(tmp_path / "one"), teacher="spectral", views=1, workers=0)
    assert files(tmp_path / "one") == files(tmp_path / "none")
    with pytest.raises(UserError, match=r"--views.gain, .* need --views.count 2 or more"):
        distill.embed(data, str(tmp_path / "two"), teacher="spectral", views=distill.Views(1, gain=3.0), workers=0)


def test_a_store_of_views_has_the_clean_rows_and_the_rows_of_the_views(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(5))
    settings = {"teacher": "spectral", "crop": CROP, "dtype": "float32", "workers": 0}
    clean = distill.embed(data, str(tmp_path / "clean"), **settings)  # type: ignore[arg-type]
    capsys.readouterr()
    store = distill.embed(data, str(tmp_path / "views"), views=VIEWS, **settings)  # type: ignore[arg-type]
    size = 15 * store.dim * 4 / 2**20
    line = f"views: 3 of each of 5 clips, so 15 embeddings and 3 times the bytes of one view: {size:,.1f} MiB"
    assert line in capsys.readouterr().out
    assert sum(path.stat().st_size for path in store.path.glob("*.bin") if path.name != "ids.bin") == 15 * store.dim * 4
    np.testing.assert_allclose(store[clean.ids], clean.read_all(), rtol=1e-4, atol=1e-4)
    views = store[[f"{name}@view1" for name in clean.ids]]
    assert (np.abs(views - clean.read_all()).max(1) > 0.01).all()
    assert store.fingerprint["views"] == {"count": 3, "gain": 6.0, "roll": True, "seed": 2}
    assert "views" not in clean.fingerprint
    before = files(store.path)
    again = distill.embed(data, str(tmp_path / "views"), views=VIEWS, **settings)  # type: ignore[arg-type]
    assert files(again.path) == before
    for other in (1, 3, distill.Views(3, gain=6.0, roll=True, seed=3)):
        with pytest.raises(StoreError, match="views"):
            distill.embed(data, str(tmp_path / "views"), views=other, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("views", [VIEWS, MIXED])
def test_a_run_trains_on_the_views_of_its_store_and_is_watched_on_clean_clips(
    views: distill.Views, sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sounds(12))
    live, store = distill.create_teacher(Loudness), str(tmp_path / "s")
    distill.embed(data, store, teacher=live, crop=CROP, views=views, dtype="float32", workers=0)
    teacher = distill.create_teacher("precomputed", store=store)
    same = {"class_path": "embedding", "init_args": {"teacher_input": "same"}}
    options = FitOptions(
        teacher, "cnn", data, str(tmp_path / "run"), same, max_steps=4, batch_size=4, engine=ENGINE,
    )  # fmt: skip
    job = Job(options)
    assert job.views == views
    made = job.data(job.parts.manifest, 16_000)
    held_out = len(made.validation_clips)
    assert held_out
    line = f"of {2 * (12 - held_out)} mixed views are not used, since the partner is not a training clip"
    assert (line in capsys.readouterr().out) == bool(views.mixup)
    names = set()
    for batch in (loaded.batch for loaded in made.train_dataloader()):
        assert batch is not None
        names.update(batch.ids)
        torch.testing.assert_close(teacher(batch).clip, live(batch).clip, rtol=1e-4, atol=1e-4)  # same sound
    assert any("@view" in name for name in names)
    assert not all("@view" in name for name in names)
    for batch in (loaded.batch for loaded in made.val_dataloader()):
        assert batch is not None
        assert not any("@view" in name for name in batch.ids)
    drawn = made.train_clips
    assert isinstance(drawn, ClipDataset)
    rows = made.order.indices(0, 0, len(drawn)).tolist()
    loaded = drawn.__getitems__(Draws(rows, list(range(len(rows)))))
    assert loaded.batch is not None
    assert tuple(first_draws(made)) == loaded.batch.ids  # the statistics of targets are those of what is drawn


def embedded(data: Path, store: Path, views: distill.Views = MIXED) -> EmbeddingStore:
    return distill.embed(str(data), str(store), teacher="spectral", crop=CROP, views=views, dtype="float32", workers=0)


def partners(data: Path, *stores: EmbeddingStore) -> NDArray[np.int32]:
    found = usable_partners(read_manifest(str(data)), stores, MIXED)
    assert found is not None
    return found


def test_an_update_embeds_the_views_of_which_a_partner_changed(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sounds(8)
    first = embedded(data, tmp_path / "store")
    assert (partners(data, first)[:, 1:] >= 0).all()
    one, two = sorted(data.rglob("*.wav"))[:2]

    def updated(change: str) -> None:
        capsys.readouterr()
        store = embedded(data, tmp_path / "store")
        assert change in capsys.readouterr().out
        fresh = embedded(data, tmp_path / "fresh" / change)
        np.testing.assert_allclose(store[fresh.ids], fresh.read_all(), rtol=1e-4, atol=1e-4)
        assert len(store) == len(fresh)
        assert (partners(data, store)[:, 1:] >= 0).all()

    updated("0 new, 0 changed, 0 removed, 24 unchanged")
    soundfile.write(one, np.sin(np.arange(4_000) / 5.0), 16_000)
    updated("0 new, 5 changed, 0 removed, 19 unchanged")  # its own three rows, and two views of which it is the partner
    two.rename(two.with_name("other.wav"))
    updated("3 new, 4 changed, 3 removed, 17 unchanged")


def test_views_that_an_interrupted_update_left_are_not_used(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    store = embedded(data, tmp_path / "store")
    name = f"{store.ids[0]}@view1"
    place = list(store.ids).index(name)
    path = next(store.path.glob("*.stamps"))
    stamps = np.fromfile(path, STAMP)
    stamps["window"][place] += 1  # as of another partner
    stamps.tofile(path)
    found = partners(data, EmbeddingStore(store.path))
    assert np.argwhere(found[:, 1:] < 0).tolist() == [[list(read_manifest(str(data)).ids).index(store.ids[0]), 0]]


def test_stores_with_other_partners_are_not_mixed_up(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    one = embedded(data, tmp_path / "one")
    (data / "class0" / "000.wav").rename(tmp_path / "kept.wav")
    fewer = embedded(data, tmp_path / "fewer")
    alone, both = partners(data, fewer), partners(data, one, fewer)
    assert (alone[:, 1:] >= 0).all()
    assert (both[:, 1:] < 0).sum() == 2  # of which the clip that left was the partner
    assert (both[both >= 0] == alone[both >= 0]).all()


def test_a_broken_file_costs_its_own_mixtures_only(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data = sounds(8)
    (data / "class0" / "000.wav").write_bytes(b"no sound")
    store = embedded(data, tmp_path / "store")
    assert len(store) == 24 - 3 - 2
    usable = usable_clips(read_manifest(str(data)), [store], MIXED)
    assert len(usable) == 7
    found = usable_partners(usable, [store], MIXED)
    assert found is not None
    assert (found[:, 1:] < 0).sum() == 2
    table = (store.path / "set_aside.csv").read_text()
    assert table.count("it is mixed with class0/000.wav: ") == 2


def test_a_run_with_views_learns_from_the_command_line(sounds: Callable[..., Path], tmp_path: Path) -> None:
    data, store = str(sounds(12)), str(tmp_path / "store")
    words = [
        "--views.count=2",
        "--views.gain=6",
        "--views.mixup=1",
        "--crop.seconds=0.2",
        "--workers=0",
        "--data",
        data,
        "--out",
        store,
    ]
    main(["embed", "--teacher", "spectral", *words, "--data", data, "--out", store])
    same = ["--teacher", "precomputed", "--teacher.store", store, "--objective.teacher_input", "same"]
    run = ["fit", *same, *SMALL, *HERE, "--data", data]
    for name in ("one", "two"):
        main([*run, "--out", str(tmp_path / name)])
    first, second = ((tmp_path / name / "student" / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"windows": 0.2}, "--views needs a crop of each clip"),
        ({"crop": distill.Crop(0.0)}, r"--crop.seconds 0 must be above 0 and at most 120"),
        ({"crop": distill.Crop(500.0)}, r"--crop.seconds 500 must be above 0 and at most 120"),
        ({"views": 0}, "--views 0: views.count 0: must be at least 1"),
    ],
)
def test_views_that_cannot_be_made_are_refused(
    options: dict[str, object], message: str, sounds: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        distill.embed(str(sounds(2)), str(tmp_path / "s"), teacher="spectral", workers=0, **{"views": 2, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "s" / "plan.json").exists()


def test_a_run_without_a_store_of_views_is_refused_before_anything_is_embedded(
    sounds: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="teacher_input same: use --live, or `distill embed --views 4`"):
        distill.fit(
            teacher="spectral", data=str(sounds(4)), out=str(tmp_path / "run"), engine=ENGINE,
            objective={"class_path": "embedding", "init_args": {"teacher_input": "same"}},
        )  # fmt: skip
    assert not (tmp_path / "run" / "embeddings").exists()
