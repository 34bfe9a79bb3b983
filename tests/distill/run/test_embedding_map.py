"""Maps of stores and of students."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import distill
from distill.data.clips.sources import Data
from distill.data.errors import UserError
from distill.data.store.reader import EmbeddingStore
from distill.run import embedding_map
from distill.run.embedding_map import draw_store
from tests.distill.commands.test_fit import fit
from tests.distill.run.test_map_page import data as page_data


def store(data: Path, out: Path) -> EmbeddingStore:
    return distill.embed(teacher="mel", data=str(data), out=str(out))


def drawn(folder: Path) -> dict[str, object]:
    assert (folder / "map.png").stat().st_size > 5_000
    return page_data((folder / "map.html").read_text())


def grouping(page: dict[str, object], name: str) -> dict[str, list[object]]:
    return next(each for each in page["groupings"] if each["name"] == name)  # type: ignore[attr-defined]


def test_a_store_has_its_labels_splits_clusters_and_sounds(sounds: Callable[..., Path], tmp_path: Path) -> None:
    folder = sounds(8)
    rows = [f"class{n % 2}/{n:03d}.wav,class{n % 2},{'test' if n < 2 else 'train'}" for n in range(8)]
    (folder / "clips.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    opened = store(folder / "clips.csv", tmp_path / "store")
    distill.cluster(str(opened.path), clusters=2)
    draw_store(opened, Data(folder / "clips.csv"), tmp_path / "out")
    page = drawn(tmp_path / "out")
    ids = page["ids"]
    assert [each["name"] for each in page["groupings"]] == ["label", "split", "cluster"]  # type: ignore[attr-defined]
    assert grouping(page, "label")["values"] == [clip_id.partition("/")[0] for clip_id in ids]  # type: ignore[attr-defined]
    assert grouping(page, "split")["values"].count("test") == 2
    kept = np.load(opened.path / "clusters" / "labels.npy")
    assert grouping(page, "cluster")["values"] == [str(label) for label in kept]
    assert all(page["sounds"])  # type: ignore[call-overload]


def test_without_data_there_are_clusters_only(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(sounds(6), tmp_path / "store")
    distill.report(map=str(tmp_path / "store"))
    page = drawn(tmp_path / "store" / "map")
    assert [each["name"] for each in page["groupings"]] == ["cluster"]  # type: ignore[attr-defined]
    assert not any(page["sounds"])  # type: ignore[call-overload]
    assert "--data names the folder or table of the clips" in capsys.readouterr().out


def test_clusters_of_other_clips_are_not_used(sounds: Callable[..., Path], tmp_path: Path) -> None:
    folder = sounds(6)
    distill.cluster(str(store(folder, tmp_path / "store").path), clusters=2)
    (folder / "class0" / "000.wav").unlink()
    distill.report(map=str(store(folder, tmp_path / "store").path))
    page = drawn(tmp_path / "store" / "map")
    assert len(grouping(page, "cluster")["values"]) == 5
    assert len(grouping(page, "cluster")["names"]) == 5  # k-means of the map's clips


def test_random_clips_of_a_large_store_are_shown(
    sounds: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_map, "MAX_CLIPS", 5)
    folder = sounds(8)
    opened = store(folder, tmp_path / "store")
    rows = [f"class{n % 2}/{n:03d}.wav,class{n % 2}\n" for n in reversed(range(8))]  # in another order than the store
    (folder / "clips.csv").write_text("path,label\n" + "".join(rows))
    draw_store(opened, Data(folder / "clips.csv"), tmp_path / "out")
    page = drawn(tmp_path / "out")
    assert "the map shows 5 random clips of 8" in capsys.readouterr().out
    assert len(page["ids"]) == 5  # type: ignore[arg-type]
    assert grouping(page, "label")["values"] == [clip_id.partition("/")[0] for clip_id in page["ids"]]  # type: ignore[attr-defined]


def test_data_of_other_clips_is_refused(sounds: Callable[..., Path], tmp_path: Path) -> None:
    store(sounds(3), tmp_path / "store")
    other = sounds(3, name="other") / "class0"
    with pytest.raises(UserError, match=r"--map: store holds 0 clips of .*class0; a map requires at least 2"):
        distill.report(map=str(tmp_path / "store"), data=str(other))


def test_the_map_of_a_run_shows_its_held_out_clips(sounds: Callable[..., Path], tmp_path: Path) -> None:
    folder = sounds(12, seconds=0.1)
    (folder / "clips.csv").write_text(
        "path,label,split\n"
        + "".join(f"class{n % 2}/{n:03d}.wav,$_{n % 2},{'validation' if n < 4 else 'train'}\n" for n in range(12))
    )
    fit(folder / "clips.csv", tmp_path / "run", epochs=1)
    distill.report(map=str(tmp_path / "run"))
    page = drawn(tmp_path / "run" / "report")
    assert sorted(page["ids"]) == [f"class{n % 2}/{n:03d}.wav" for n in (0, 2, 1, 3)]  # type: ignore[call-overload]
    assert set(grouping(page, "label")["values"]) == {"$_0", "$_1"}
    distill.report(map=str(tmp_path / "run"), data=str(sounds(3, name="more")), out=str(tmp_path / "m"))
    assert len(drawn(tmp_path / "m")["ids"]) == 3  # type: ignore[arg-type]
