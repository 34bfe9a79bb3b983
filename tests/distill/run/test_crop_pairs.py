"""A sample of clips, and two crops of each as rows of a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

import distill
from distill.data.audio.read import Span, read
from distill.data.clips.dataset import Crop
from distill.data.clips.manifest import Manifest, Row
from distill.data.clips.sources import read_manifest
from distill.run.crop_pairs import clips_in_all, draw_clips, half_id, halves_in_all, with_halves


def test_a_sample_is_random_in_order_and_part_of_a_larger_one() -> None:
    clips = Manifest(Path("data"), [Row(f"{number:03d}.wav", Path(f"{number:03d}.wav")) for number in range(100)])
    small, large = ([*draw_clips(clips, count, 0).ids] for count in (10, 30))
    assert len(small) == 10
    assert small == sorted(small) != [*clips.ids][:10]
    assert set(small) < set(large)
    assert small != [*draw_clips(clips, 10, 1).ids]
    assert [*draw_clips(clips, 1000, 0).ids] == [*clips.ids]


def test_the_halves_are_those_of_the_centred_crop(tmp_path: Path) -> None:
    samples = (np.arange(3_200) / 4_000).astype(np.float32)  # the value of a sample is its place
    soundfile.write(tmp_path / "a.wav", samples, 1_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", samples[:390], 1_000, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    window = Row("window", tmp_path / "a.wav", start=1.0, duration=2.0)
    clips = Manifest(tmp_path, [*read_manifest(tmp_path).rows, window])
    rows = with_halves(clips, Crop(1.0)).rows
    assert [row.id for row in rows[len(clips) :]] == ["a.wav@half1", "window@half1", "a.wav@half2", "window@half2"]
    assert [row.id for row in rows[: len(clips)]] == [*clips.ids]
    for row, begin in zip(rows[len(clips) :], (1_100, 1_500, 1_600, 2_000), strict=True):
        decoded, _ = read(row.path, Span(start=row.start, duration=row.duration))
        np.testing.assert_allclose(decoded, samples[begin : begin + 500])


def test_a_whole_clip_is_halved(tmp_path: Path) -> None:
    clips = Manifest(tmp_path, [Row("long", tmp_path / "long.wav", duration=30.0)])
    first, second = with_halves(clips, Crop(0.0)).rows[1:]
    assert [(row.start, row.duration) for row in (first, second)] == [(0.0, 15.0), (15.0, 15.0)]


def test_only_what_every_store_has_is_compared(sounds: Callable[..., Path], tmp_path: Path) -> None:
    folder = sounds(6)
    clips = read_manifest(folder)
    halved = with_halves(clips, Crop())
    stores = []
    for number, lost in enumerate(("class0/000.wav", "class1/001.wav@half2")):
        table = tmp_path / f"{number}.csv"
        rows = [row for row in halved.rows if row.id != lost]
        table.write_text(
            "id,path,start,duration\n" + "".join(f"{r.id},{r.path},{r.start},{r.duration or ''}\n" for r in rows)
        )
        stores.append(distill.embed(str(table), str(tmp_path / f"store{number}"), teacher="spectral", workers=0))
    assert [*clips_in_all(clips, stores).ids] == [name for name in clips.ids if name != "class0/000.wav"]
    first, second = halves_in_all(clips, stores)
    kept = [name for name in clips.ids if name != "class1/001.wav"]
    assert first == [half_id(name, 1) for name in kept]
    assert second == [half_id(name, 2) for name in kept]
