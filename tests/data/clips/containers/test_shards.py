"""Folders of tars, or of Parquet files with sounds, as downloads leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from distill.data.audio.read import read
from distill.data.clips.containers.shards import holds_sounds
from distill.data.clips.sources import Data, read_manifest
from distill.data.clips.summary import summary_of
from distill.data.errors import UserError
from tests.data.audio.parquets import write
from tests.data.clips.containers.tars import samples, sound, write_tar
from tests.data.clips.written import parquet, table

pytest.importorskip("pyarrow")
SOUNDS = [sound(300), sound(400)]


def tars(folder: Path) -> None:
    for name, content in zip(("train-0.tar", "test-0.tar"), SOUNDS, strict=True):
        write_tar(folder / name, {"a.flac": content, "a.json": '{"label": "dog", "kind": "k"}'})


def tables(folder: Path) -> None:
    for name, content in zip(("train-00000-of-00001", "test-00000-of-00001"), SOUNDS, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{name}.parquet", [content], label=["dog"], kind=["k"])


def converted(folder: Path) -> None:
    """As the hub converts data sets: a folder for each split."""
    for split, content in zip(("train", "test"), SOUNDS, strict=True):
        (folder / split).mkdir(parents=True, exist_ok=True)
        write(folder / split / "0000.parquet", [content], label=["dog"], kind=["k"])


@pytest.mark.parametrize("below", ["", "data", "default/v1"])
@pytest.mark.parametrize("layout", [tars, tables, converted])
def test_a_folder_of_containers_is_read(layout: Callable[[Path], None], below: str, tmp_path: Path) -> None:
    layout(tmp_path / below)
    (tmp_path / "README.md").write_text("# A data set\n")
    manifest = read_manifest(tmp_path)
    by_split = {row.split: row for row in manifest.rows}
    for split, content in zip(("training", "test"), SOUNDS, strict=True):
        row = by_split[split]
        assert row.labels == ("dog",)
        assert np.array_equal(read(row.path, part=row.part)[0], samples(content))
    assert len(set(manifest.ids)) == 2
    line = summary_of(manifest)
    assert ("2 tars in" if layout is tars else "2 tables in") in line
    assert "2 clips, 1 classes ('label' beside the sounds)" in line or "2 clips, 1 classes (column 'label')" in line
    assert "splits: test 1, training 1" in line
    assert read_manifest(Data(tmp_path, label="kind")).classes == ("k",)


def test_both_kinds_of_containers_are_refused(tmp_path: Path) -> None:
    tars(tmp_path)
    tables(tmp_path / "parquet")
    with pytest.raises(UserError, match="tars and Parquet files with sounds"):
        read_manifest(tmp_path)


def test_tables_beside_tars_are_counted(tmp_path: Path) -> None:
    tars(tmp_path)
    parquet(tmp_path, {"path": ["a.wav"]}, "index.parquet")
    table(tmp_path, "path\na.flac\n", "list.csv")
    assert "left out: 1 Parquet files" in summary_of(read_manifest(tmp_path))


def test_tars_beside_audio_are_counted(tmp_path: Path) -> None:
    tars(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"x")
    line = summary_of(read_manifest(tmp_path))
    assert "1 clips" in line
    assert "left out: 2 tars beside the audio" in line


def test_a_root_is_refused_for_tars(tmp_path: Path) -> None:
    tars(tmp_path)
    with pytest.raises(UserError, match="--root"):
        read_manifest(Data(tmp_path, root=tmp_path))


def test_a_folder_whose_tars_are_all_broken_is_one_line(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UserError, match=r"0.tar: compressed by gzip.* \(none of 3 tars can be read\)"):
        read_manifest(tmp_path)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    tables(tmp_path / "data")
    (tmp_path / "data" / "more.parquet").write_bytes(b"PAR1")
    manifest = read_manifest(tmp_path)
    assert len(manifest) == 2
    assert "more.parquet" in summary_of(manifest)
    for file in (tmp_path / "data").glob("t*.parquet"):
        file.unlink()
    with pytest.raises(UserError, match=r"no audio in it; .*more.parquet"):
        read_manifest(tmp_path)


def test_whether_a_table_holds_sounds(tmp_path: Path) -> None:
    tables(tmp_path)
    assert holds_sounds(tmp_path / "train-00000-of-00001.parquet")
    assert not holds_sounds(parquet(tmp_path, {"path": ["a.wav"]}))
