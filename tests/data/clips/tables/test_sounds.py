"""Sounds that Parquet tables hold as bytes, in the forms that writers give them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.data.audio.parts import Cell
from distill.data.audio.read import read
from distill.data.clips.manifest import Manifest
from distill.data.clips.sources import read_manifest
from distill.data.clips.summary import summary_of
from distill.data.clips.tables.reading import Listing, read_listings
from distill.data.errors import UserError
from tests.data.audio.parquets import write
from tests.data.clips.containers.tars import samples, sound
from tests.data.clips.written import parquet

pyarrow: Any = pytest.importorskip("pyarrow")
SOUNDS = [sound(frequency) for frequency in (300, 400, 500, 600)]
LONG = [sound(frequency, seconds=1, form="WAV") for frequency in (300, 400, 500, 600)]  # bytes alone, so not paths


def hub(
    folder: Path,
    columns: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, str],
    classes: Mapping[str, Sequence[str]] = {},
) -> Path:
    """Write a table whose metadata declare the kinds of columns, as Hugging Face does."""
    import pyarrow.parquet

    features: dict[str, Any] = {name: {"_type": kind} for name, kind in kinds.items()}
    features |= {name: {"_type": "ClassLabel", "names": list(names)} for name, names in classes.items()}
    described = json.dumps({"info": {"features": features}})
    data = pyarrow.table(dict(columns)).replace_schema_metadata({"huggingface": described})
    pyarrow.parquet.write_table(data, folder / "hub.parquet", row_group_size=2)
    return folder / "hub.parquet"


def cells(paths: Sequence[str | None], sounds: Sequence[bytes | None] = SOUNDS) -> list[dict[str, Any]]:
    return [{"bytes": content, "path": path} for content, path in zip(sounds, paths, strict=True)]


def check(manifest: Manifest, ids: Sequence[str], sounds: Sequence[bytes] = SOUNDS) -> None:
    """Assert that the clips have these ids, and that each is read from its own bytes."""
    assert list(manifest.ids) == list(ids)
    for row, content in zip(manifest.rows, sounds, strict=True):
        assert np.array_equal(read(row.path, part=row.part)[0], samples(content))


NAMES = {
    "plain": (["a.flac", "b.flac", "c.flac", "d.flac"],) * 2,
    "folders": (["x/a", "x/b", "y/a", "y/b"],) * 2,
    "none": ([None] * 4, [f"row {row}" for row in (1, 2, 3, 4)]),
    "equal": (["audio.wav"] * 4, [f"audio.wav#{row}" for row in (1, 2, 3, 4)]),
    "two of them equal": (["a", "b", "a", "c"], ["a#1", "b", "a#3", "c"]),
    "where they were": (["/home/me/a", "C:\\b", "../../c", "./d"], ["home/me/a", "C:/b", "c", "d"]),
    "hostile": (["", "..", "/", "x" * 5000], [f"row {row}" for row in (1, 2, 3, 4)]),
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_sound_has_the_name_of_its_path_and_its_own_bytes(kind: str, tmp_path: Path) -> None:
    paths, ids = NAMES[kind]
    manifest = read_manifest(parquet(tmp_path, {"audio": cells(paths), "label": list("abab")}))
    check(manifest, ids)
    assert [row.labels for row in manifest.rows] == [("a",), ("b",)] * 2
    assert {str(row.path) for row in manifest.rows} == {str(tmp_path / "clips.parquet")}


COLUMNS = {
    "bytes without paths": {"audio": [{"bytes": content} for content in SOUNDS]},
    "bytes alone": {"audio": LONG},
    "bytes alone under any name": {"content": LONG, "label": list("abab")},
    "large bytes": {"audio": pyarrow.array(LONG, pyarrow.large_binary())},
    "beside a column of paths": {"file": ["/no/such/file.wav"] * 4, "audio": cells([None] * 4)},
}  # fmt: skip


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_column_of_sounds_is_found(kind: str, tmp_path: Path) -> None:
    manifest = read_manifest(parquet(tmp_path, COLUMNS[kind]))
    is_long = any(LONG[0] == value for values in COLUMNS[kind].values() for value in pyarrow.array(values).to_pylist())
    check(manifest, [f"row {row}" for row in (1, 2, 3, 4)], LONG if is_long else SOUNDS)


def test_what_a_file_declares_comes_first(tmp_path: Path) -> None:
    pictures = [{"bytes": b"png" * 3000, "path": "a.png"}] * 4
    columns = {"audio": pictures, "file": list("abcd"), "speech": cells(list("wxyz"))}
    manifest = read_manifest(hub(tmp_path, columns, {"audio": "Image", "speech": "Audio"}))
    check(manifest, list("wxyz"))
    assert "columns not read: audio, file" in summary_of(manifest)


def test_pictures_beside_paths_do_not_matter(tmp_path: Path) -> None:
    columns = {"path": list("abcd"), "thumbnail": [b"png" * 3000] * 4}
    assert [row.part for row in read_manifest(parquet(tmp_path, columns)).rows] == [None] * 4


def test_sounds_have_domains(tmp_path: Path) -> None:
    columns = {"audio": cells(["a", "b", "c", "d"]), "domain": ["street", None, " song", "song"]}
    rows = read_manifest(hub(tmp_path, columns, {"audio": "Audio", "domain": "Value"})).rows
    assert [row.domain for row in rows] == ["street", "", "song", "song"]


def test_numbers_of_domains_and_splits_have_the_names_that_the_file_declares(tmp_path: Path) -> None:
    columns = {"audio": cells(["a", "b", "c", "d"]), "domain": [1, None, 0, 1], "split": [0, 1, 1, 0]}
    path = hub(tmp_path, columns, {"audio": "Audio"}, {"domain": ["song", "street"], "split": ["train", "test"]})
    rows = read_manifest(path).rows
    assert [row.domain for row in rows] == ["street", "", "song", "street"]
    assert [row.split for row in rows] == ["training", "test", "test", "training"]


def test_of_several_columns_of_bytes_none_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the columns left, right hold bytes; rename that of the sounds to audio"):
        read_manifest(parquet(tmp_path, {"left": LONG, "right": LONG}))


def test_rows_without_bytes_are_files_or_set_aside(tmp_path: Path) -> None:
    (tmp_path / "b.flac").write_bytes(SOUNDS[1])
    mixed: list[bytes | None] = [SOUNDS[0], None, None, SOUNDS[3]]
    audio = cells(["a.flac", "b.flac", "../c.flac", None], mixed)
    audio.append({"bytes": None, "path": None})
    path = parquet(tmp_path, {"audio": audio})
    manifest = read_manifest(path)
    assert [(row.id, row.path, row.part) for row in manifest.rows] == [
        ("a.flac", path, Cell("audio.bytes", 0)),
        ("b.flac", tmp_path / "b.flac", None),
        ("row 4", path, Cell("audio.bytes", 3)),
    ]
    check(manifest, ["a.flac", "b.flac", "row 4"], [SOUNDS[0], SOUNDS[1], SOUNDS[3]])
    assert [(clip.id, clip.reason) for clip in manifest.notes.set_aside] == [
        ("../c.flac", "outside"),
        ("row 5", "no_path"),
    ]


def test_windows_of_a_sound_are_clips(tmp_path: Path) -> None:
    columns = {"audio": cells(["a"] * 4, [SOUNDS[0]] * 4), "start": [0.0, 0.1, 0.1, 0.0], "end": [0.1, 0.2, 0.2, 0.1]}
    rows = read_manifest(parquet(tmp_path, columns)).rows
    assert [row.id for row in rows] == ["a@0#1", "a@0.1#2", "a@0.1#3", "a@0#4"]
    assert len(read(rows[1].path, part=rows[1].part)[0]) == 3200


def test_shards_and_tables_of_files_are_one_manifest(tmp_path: Path) -> None:
    files = parquet(tmp_path, {"path": ["x.flac"], "label": ["c"]}, "a.parquet")
    for name in "bc":
        parquet(tmp_path, {"audio": cells(list("uvwx")), "label": list("abab")}, f"{name}.parquet")
    (tmp_path / "x.flac").write_bytes(SOUNDS[0])
    manifest = read_listings([Listing(tmp_path / f"{name}.parquet") for name in "abc"], tmp_path)
    assert files.exists()
    ids = ["x.flac", *(f"{name}.parquet/{clip}" for name in "bc" for clip in "uvwx")]
    check(manifest, ids, [SOUNDS[0], *SOUNDS, *SOUNDS])
    assert [row.labels[0] for row in manifest.rows] == list("cabababab")


def test_sounds_are_not_read_for_a_manifest(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", SOUNDS, "not compressed, no dictionary")
    content = path.read_bytes()
    for found in SOUNDS:
        assert found in content
        content = content.replace(found, bytes(len(found)))
    path.write_bytes(content)
    assert list(read_manifest(path).ids) == ["0.wav", "1.wav", "2.wav", "3.wav"]
